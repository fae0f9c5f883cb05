// The event creator: something to send, to whom, and what became of it.

import { get, of, post } from "./api.js"
import { calm, fresh, h, keyed, put, say } from "./dom.js"
import { time } from "./format.js"
import { jsonFault } from "./json.js"
import { reach } from "./live.js"
import { button, empty, faultLine, field, working } from "./parts.js"

const SENT_MAX = 10

/** Who can be meant: id, name, label of the field that says whom, hint. */
const TARGETS = [
  ["channel", "Channel", "Channel", "All who are subscribed to it."],
  ["user", "User", "User", "All sockets of the user who came with this tag or token, or signed in with this id."],
  ["pattern", "Pattern", "Pattern", "All users whose tag matches this regular expression, such as ^alice. They are told the data alone."],
  ["everyone", "Everyone", null, "All sockets of Gusher's own protocol in this app. They are told the data alone."],
]

/** Those who are told no name of an event. */
const isPlain = (target) => ["pattern", "everyone"].includes(target)

/** @param {AbortSignal} signal the tab is left */
export function eventsTab({ app, draft }, signal) {
  const names = h("datalist", { id: fresh("names") })
  const to = field("Channel", h("input", {
    type: "text", value: draft.to, autocomplete: "off", autocapitalize: "off", spellcheck: "false", list: names.id,
    oninput: () => { draft.to = to.input.value; suggest() },
  }), { hint: " " })
  const event = field("Event name", h("input", {
    type: "text", value: draft.event, autocomplete: "off", autocapitalize: "off", spellcheck: "false", oninput: () => { draft.event = event.input.value },
  }), { hint: "Sockets of Gusher's own protocol are not told it." })
  const data = field("Data (JSON)", h("textarea", {
    class: "code", rows: 9, value: draft.data, spellcheck: "false", autocapitalize: "off",
    oninput: () => { draft.data = data.input.value; check() },
    onkeydown: (press) => (press.ctrlKey || press.metaKey) && press.key === "Enter" && form.requestSubmit(),
  }), { classes: "grow" })
  const go = h("button", { type: "submit", class: "button primary" }, "Send")
  const result = h("p", { class: "result", role: "status" })
  const fault = faultLine()
  const sent = h("ol", { class: "sent" })
  const nothing = empty("Nothing sent yet", "What you send from here is listed, so that you can send it again.")
  const listSent = keyed(sent, ({ number }) => number, (entry) => ({ element: sentRow(entry, again) }))

  const group = fresh("target")
  const radios = TARGETS.map(([id, title]) => h("label", {},
    h("input", { type: "radio", name: group, value: id, checked: draft.target === id, onchange: () => aim(id) }),
    h("span", {}, title)))

  function aim(id) {
    draft.target = id
    const [, , label, hint] = TARGETS.find(([own]) => own === id)
    to.element.hidden = !label
    to.element.querySelector("label").textContent = label ?? ""
    say(to.element.querySelector(".hint"), hint)
    say(everyone, label ? "" : hint)
    event.element.hidden = isPlain(id)
    to.tell(null)
    event.tell(null)
    suggest()
  }

  const suggest = calm(async () => {
    const isChannel = draft.target === "channel"
    if (signal.aborted || !(isChannel || draft.target === "user")) return put(names)
    const path = `${of(app.app_key, isChannel ? "channels" : "users")}?${new URLSearchParams({ prefix: draft.to, limit: 20 })}`
    const answer = await get(path, signal).catch(() => null)
    if (answer) put(names, (answer.channels ?? answer.users).map(({ name, user }) => h("option", { value: name ?? user })))
  })

  /** The data, or undefined with the reason said. */
  function check() {
    const fault = jsonFault(data.input.value)
    data.tell(fault)
    return fault ? undefined : JSON.parse(data.input.value)
  }

  const submit = working(go, async () => {
    fault.tell(null)
    say(result, "")
    const value = check()
    const isNamed = to.element.hidden || to.input.value.trim()
    to.tell(isNamed ? null : "Say whom you mean.")
    if (!isNamed) return to.input.focus()
    const isCalled = event.element.hidden || event.input.value.trim()
    event.tell(isCalled ? null : "An event has a name.")
    if (!isCalled) return event.input.focus()
    if (value === undefined) return data.input.focus()
    const call = { target: draft.target, data: value, ...(!event.element.hidden && { event: draft.event.trim() }), ...(!to.element.hidden && { to: draft.to.trim() }) }
    try {
      const answer = await post(of(app.app_key, "events"), call)
      const reached = reach(answer?.reach)
      say(result, `Sent${reached ? `: ${reached}` : ""}.`)
      keep(call, reached)
    } catch (error) {
      fault.tell(error)
    }
  })

  function keep(call, reached) {
    draft.sent = [{ number: (draft.sent[0]?.number ?? 0) + 1, at: Date.now(), call, reached }, ...draft.sent].slice(0, SENT_MAX)
    showSent()
  }

  function again({ target, to: name = "", event: title = "", data: value }) {
    Object.assign(draft, { target, to: name, event: title, data: JSON.stringify(value, null, 2) })
    to.input.value = draft.to
    event.input.value = draft.event
    data.input.value = draft.data
    for (const { firstChild: radio } of radios) radio.checked = radio.value === target
    aim(target)
    check()
    go.focus()
  }

  function showSent() {
    listSent(draft.sent)
    nothing.hidden = draft.sent.length > 0
  }

  const format = button("Format", () => {
    const value = check()
    if (value === undefined) return
    data.input.value = draft.data = JSON.stringify(value, null, 2)
  }, { classes: "small" })
  const everyone = h("p", { class: "hint" })
  const form = h("form", { class: "card", onsubmit: submit, "aria-label": "Send an event" },
    h("fieldset", { class: "segments" }, h("legend", {}, "To"), radios), everyone, to.element, names, event.element, data.element,
    fault.element,
    h("div", { class: "actions start" }, go, format, h("span", { class: "hint wide-only" }, "Ctrl+Enter sends"), result))
  aim(draft.target)
  check()
  showSent()
  return h("div", { class: "halves" }, form,
    h("section", { class: "card", "aria-label": "Sent" }, h("div", { class: "card-head" }, h("h2", {}, "Sent")), sent, nothing))
}

function sentRow({ at, call, reached }, again) {
  const whom = call.to ? `${call.target} ${call.to}` : call.target
  return h("li", {}, h("time", {}, time(at)),
    h("span", { class: "subject" }, call.event || JSON.stringify(call.data)), h("span", { class: "remark" }, [whom, reached].filter(Boolean).join(" · ")),
    button("Again", () => again(call), { classes: "small", "aria-label": `Again: ${call.event || "data"} to ${whom}` }))
}
