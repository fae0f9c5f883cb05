// Which channels of an app are occupied and who is in them, and which users are online.

import { get, of } from "./api.js"
import { calm, h, keyed, put, repeat, say } from "./dom.js"
import { count, plural } from "./format.js"
import { badge, button, dialog, empty, faultLine, table } from "./parts.js"

const PERIOD_MS = 3_000

/** The most that are listed at once. */
const LISTED_MAX = 100

/** How the name of a channel begins, and what that makes of it. */
const KINDS = [
  ["private-encrypted-", "encrypted"], ["presence-", "presence"], ["private-", "private"], ["cache-", "cache"],
]

const kindOf = (name) => KINDS.find(([start]) => name.startsWith(start))?.[1] ?? "public"

export function channelsTab({ app, open, ...shared }, signal) {
  const list = table("Channels", [["Channel"], ["Kind", "wide-only"], ["Subscriptions", "number"], ["Users", "number"], [""]], { class: "rows" })
  const members = (name) => membersDialog(app.app_key, name)
  const send = (name) => { shared.toSend("channel", name); open("events") }
  return listing({
    signal, list, path: of(app.app_key, "channels"), word: "channel", label: "Channels that begin with", pick: ({ channels }) => channels,
    update: keyed(list.body, ({ name }) => name, (channel) => channelRow(channel, members, send)),
    nothing: () => empty("No channel is occupied", "A channel is there as long as somebody is subscribed to it.",
      button("How to subscribe", () => open("snippets"), { classes: "primary" })),
  })
}

export function usersTab({ app, open, ...shared }, signal) {
  const list = table("Users online", [["User"], ["Sockets", "number"], [""]], { class: "rows" })
  const send = (user) => { shared.toSend("user", user); open("events") }
  return listing({
    signal, list, path: of(app.app_key, "users"), word: "user", label: "Users that begin with", pick: ({ users }) => users,
    update: keyed(list.body, ({ user }) => user, (user) => userRow(user, send)),
    nothing: () => empty("No user is online", "Users are those who connect under a tag, come with a token, or sign in.",
      button("How to connect", () => open("snippets"), { classes: "primary" })),
  })
}

/** A list that is asked for again and again, found by how names begin. */
function listing({ signal, list, path, word, label, pick, update, nothing }) {
  const fault = faultLine()
  const total = h("span", { class: "hint", role: "status" })
  const prefix = h("input", { type: "search", placeholder: "Begins with", "aria-label": label, autocapitalize: "off", spellcheck: "false" })
  const none = h("div", { hidden: true })
  const ask = async () => {
    const wanted = prefix.value.trim()
    const query = new URLSearchParams({ prefix: wanted, limit: LISTED_MAX })
    try {
      const answer = await get(`${path}?${query}`, signal)
      if (wanted === prefix.value.trim()) show(answer, wanted)
      fault.tell(null)
    } catch (error) {
      if (error.name !== "AbortError") fault.tell(error)
    }
  }

  function show(answer, wanted) {
    const items = pick(answer)
    update(items)
    const isCut = items.length < answer.total
    say(total, isCut ? `${count(items.length)} of ${plural(answer.total, word)}: type how the name begins` : plural(answer.total, word))
    list.element.hidden = !items.length
    none.hidden = Boolean(items.length)
    const state = wanted ? "filtered" : "empty"
    if (!items.length && none.dataset.state !== state) {
      none.dataset.state = state
      put(none, wanted ? empty(`No such ${word}`, "None that is there begins like this.") : nothing())
    }
  }

  prefix.addEventListener("input", calm(ask))
  repeat(PERIOD_MS, signal, ask)
  return [h("div", { class: "bar" }, prefix, total), fault.element, list.element, none]
}

function channelRow({ name }, members, send) {
  const kind = kindOf(name)
  const subscriptions = h("td", { class: "number", "data-label": "Subscriptions" })
  const users = h("td", { class: "number", "data-label": "Users" })
  const update = (newer) => {
    say(subscriptions, count(newer.subscriptions))
    say(users, newer.users == null ? "" : count(newer.users))
  }
  const actions = h("td", { class: "number act" },
    kind === "presence" && button("Members", () => members(name), { classes: "small", "aria-label": `Members of ${name}` }), " ",
    button("Send", () => send(name), { classes: "small", "aria-label": `Send an event to ${name}` }))
  const element = h("tr", {}, h("td", { class: "name" }, name), h("td", { class: "wide-only" }, badge(kind)), subscriptions, users, actions)
  return { element, update }
}

function userRow({ user }, send) {
  const sockets = h("td", { class: "number", "data-label": "Sockets" })
  const element = h("tr", {}, h("td", { class: "name" }, user), sockets, h("td", { class: "number act" },
    button("Send", () => send(user), { classes: "small", "aria-label": `Send an event to ${user}` })))
  return { element, update: (newer) => say(sockets, count(newer.sockets)) }
}

async function membersDialog(key, name) {
  const fault = faultLine()
  const total = h("p", { class: "hint", role: "status" }, "Asking the node…")
  const list = table(`Members of ${name}`, [["Id"], ["Info"]], { hidden: true })
  dialog(`Members of ${name}`, total, fault.element, list.element)
  try {
    const answer = await get(of(key, "channels", name, "members"))
    const isCut = answer.members.length < answer.total
    say(total, isCut ? `The first ${count(answer.members.length)} of ${plural(answer.total, "member")}` : plural(answer.total, "member"))
    put(list.body, answer.members.map(({ id, info }) =>
      h("tr", {}, h("td", { class: "name" }, id), h("td", {}, info == null ? "" : h("code", {}, JSON.stringify(info))))))
    list.element.hidden = !answer.members.length
  } catch (error) {
    total.hidden = true
    fault.tell(error)
  }
}
