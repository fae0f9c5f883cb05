// The feed of an app as one watches it: chosen by kind and by text, held still, cleared.

import { h, put, say } from "./dom.js"
import { besides, bytes, count, plural, time } from "./format.js"
import { KEPT_MAX } from "./feed.js"
import { button, empty } from "./parts.js"

/** What can be chosen: a name, and the kinds of items behind it. */
const GROUPS = [
  ["Connections", ["connected", "disconnected"]],
  ["Subscriptions", ["subscribed", "unsubscribed"]],
  ["Client events", ["client_event"]],
  ["Published", ["published"]],
  ["Refused", ["refused"]],
  ["Webhooks", ["webhook"]],
]

const KNOWN = new Set(GROUPS.flatMap(([, kinds]) => kinds))

const STATES = { idle: "Opening", opening: "Opening", live: "Live", waiting: "Trying again", ended: "Ended" }

/** @param {AbortSignal} signal the tab is left */
export function liveTab({ feed, open }, signal) {
  const chosen = new Set(GROUPS.flatMap(([, kinds]) => kinds))
  let isPaused = false
  let missed = 0
  let fresh = []

  const state = h("span", { class: "badge", role: "status" })
  const text = h("input", { type: "search", placeholder: "Filter by text", "aria-label": "Filter by text", oninput: () => redraw() })
  const pause = button("Pause", () => {
    isPaused = !isPaused
    missed = 0
    pause.setAttribute("aria-pressed", String(isPaused))
    redraw()
  }, { "aria-pressed": "false" })
  const clear = button("Clear", () => { feed.clear(); redraw() })
  const choices = GROUPS.map(([name, kinds]) => h("label", { class: `chip kind-${kinds[0]}` },
    h("input", { type: "checkbox", checked: true, onchange: ({ target }) => {
      for (const kind of kinds) target.checked ? chosen.add(kind) : chosen.delete(kind)
      redraw()
    } }), name))
  const note = h("p", { class: "hint feed-note" })
  const list = h("ol", { class: "feed", "aria-label": "Feed, newest first", tabIndex: 0 })
  const nothing = h("div")

  const fits = (item) => {
    const word = text.value.trim().toLowerCase()
    const isChosen = KNOWN.has(item.kind) ? chosen.has(item.kind) : true
    return isChosen && (!word || JSON.stringify(item).toLowerCase().includes(word))
  }

  function redraw() {
    fresh = []
    put(list, feed.newest(fits).map(row))
    tell()
  }

  /** Once for each picture of the screen, however many came. */
  function add() {
    if (signal.aborted) return
    list.prepend(...fresh.reverse().slice(0, KEPT_MAX).map(row))
    while (list.childElementCount > KEPT_MAX) list.lastElementChild.remove()
    fresh = []
    tell()
  }

  function tell() {
    const { name, reason } = feed.state
    state.className = `badge ${isPaused ? "" : { live: "good", ended: "bad", waiting: "bad" }[name] ?? ""}`
    say(state, isPaused ? `Paused${missed ? `, ${count(missed)} new` : ""}` : STATES[name])
    say(pause, isPaused ? "Go on" : "Pause")
    const skipped = feed.skipped ? `${plural(feed.skipped, "event")} left out, as more came than a feed carries. ` : ""
    const why = name === "live" || !reason ? "" : `${reason} `
    say(note, `${why}${skipped}What happens on this node alone; ${besides(feed.others)}. The newest ${KEPT_MAX}, since you opened the app.`)
    const isEmpty = !list.childElementCount
    list.hidden = isEmpty
    nothing.hidden = !isEmpty
    if (isEmpty) quiet()
  }

  function quiet() {
    const isFiltered = feed.newest(() => true).length > 0
    if (nothing.dataset.state === String(isFiltered)) return
    nothing.dataset.state = String(isFiltered)
    put(nothing, isFiltered
      ? empty("Nothing fits", "Choose more kinds, or take the text out of the filter.")
      : empty("Nothing has happened yet", "Connect a client or publish something, and it shows here at once.",
        h("div", { class: "actions" },
          button("How to connect", () => open("snippets"), { classes: "primary" }), button("Send an event", () => open("events")))))
  }

  feed.changed = (items) => {
    if (isPaused) {
      missed += items.length
      return tell()
    }
    if (!fresh.length) requestAnimationFrame(add)
    fresh.push(...items.filter(fits))
    // Nobody looks: a page in the background draws nothing.
    if (fresh.length > KEPT_MAX * 2) fresh.splice(0, fresh.length - KEPT_MAX)
  }
  signal.addEventListener("abort", () => { feed.changed = () => {} })
  feed.start()
  redraw()
  return [
    h("div", { class: "bar" }, text, pause, clear, state),
    h("fieldset", { class: "chips" }, h("legend", { class: "away" }, "Kinds"), choices),
    note, list, nothing,
  ]
}

function row(item) {
  const { number, time_ms, kind, ...rest } = item
  const [subject, remark] = words(item)
  const details = h("details", { ontoggle: () => {
    if (details.open && details.childElementCount === 1) details.append(h("pre", {}, readable(rest)))
  } }, h("summary", {},
    h("time", {}, time(time_ms)),
    h("span", { class: `kind kind-${kind}` }, kind.replace("_", " ")),
    h("span", { class: "subject" }, subject),
    h("span", { class: "remark" }, remark)))
  return h("li", {}, details)
}

/** What an item is about, and what else there is to say. */
function words(item) {
  const { kind, socket_id, channel, event, reason } = item
  switch (kind) {
    case "connected": return [socket_id, [item.dialect, item.user && `user ${item.user}`, item.address].filter(Boolean).join(" · ")]
    case "disconnected": return [socket_id, [item.code, reason].filter(Boolean).join(" ")]
    case "subscribed":
    case "unsubscribed": return [channel, socket_id]
    case "client_event": return [channel, `${event} · ${socket_id}`]
    case "published": return [event || item.data, [target(item.target), bytes(item.bytes), reach(item.reach)].filter(Boolean).join(" · ")]
    case "refused": return [reason, [item.where, item.status ?? item.code].filter(Boolean).join(" ")]
    case "webhook": return [item.url, [item.status ?? item.fault, [item.events].flat().join(", ")].filter(Boolean).join(" · ")]
    default: return [JSON.stringify(item), ""]
  }
}

const target = (value) => typeof value === "string" ? value : value == null ? "" : Object.values(value).flat().join(", ")

/** How many were reached, as far as the node knows. */
export function reach(value) {
  if (value == null) return ""
  if (typeof value !== "object") return `reached ${value}`
  return Object.entries(value).filter(([, number]) => number != null).map(([what, number]) => `${typeof number === "number" ? count(number) : number} ${what}`).join(", ")
}

/** The members that there are, one below the other; data that is JSON in a text is shown as JSON. */
function readable(members) {
  const there = Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null))
  const unfold = (name, value) => {
    if (name !== "data" || typeof value !== "string") return value
    try {
      return JSON.parse(value)
    } catch {
      return value
    }
  }
  return JSON.stringify(there, unfold, 2)
}
