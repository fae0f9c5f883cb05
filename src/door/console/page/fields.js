// The settings of an app as people change them: their names, defaults and meanings in one table, and an editor for each
// type. A setting that the table does not know, as a newer node may have, is edited by the type of its value.

import { h, put, say } from "./dom.js"
import { count } from "./format.js"
import { button, field, toggle } from "./parts.js"

/** Group -> settings: name, default, label, meaning, and of a number its least, its most and its unit. */
export const GROUPS = [
  ["Access", [
    ["enabled", true, "In use", "If not, sockets are closed with 4003 and signed calls refused."],
    ["require_origin", false, "Require an origin", "Clients must name their origin, which only browsers do."],
    ["tls_only", false, "TLS only", "Sockets must come over TLS."],
    ["authorized_connections", false, "Authorized connections only", "Who neither signs in nor subscribes to a private channel in time is closed."],
    ["authorization_timeout", 30, "Time to authorize", "How long such a client has.", 1, 3_600, "s"],
    ["max_connections", null, "Most connections", "At once. Empty: no bound but the node's.", undefined, undefined, "sockets"],
    ["max_connects_per_second", null, "Connects", "That ask one node to be let in. Empty: no bound.", 1, 1_000_000, "per second"],
    ["max_frames_per_second", 5_000, "Frames of a socket", "One more, and it is closed.", 1, 1_000_000, "per second"],
    ["allowed_origins", [], "Allowed origins", "Where pages may come from, one in a line: example.com, *.example.com, https://example.com:8080. Empty: anywhere."],
  ]],
  ["Features", [
    ["client_events", true, "Client events", "Clients may send events to each other."],
    ["subscription_count", false, "Subscription counts", "Subscribers are told how many they are."],
    ["watchlists", false, "Watchlists", "Users are told which of those they watch come and go."],
    ["compression", false, "Compression", "Clients that offer it are sent deflated messages."],
    ["cache_ttl", 1_800, "Cache channels keep their event", "After that, it is forgotten.", 1, 604_800, "s"],
  ]],
  ["Limits of events", [
    ["max_event_bytes", 10_240, "Data of an event", "At most.", 1, 1_048_576, "bytes"],
    ["max_event_name_length", 200, "Name of an event", "At most.", 1, 1_000, "characters"],
    ["max_channels_per_event", 100, "Channels of one event", "At most.", 1, 10_000, "channels"],
    ["max_batch_events", 10, "Events of one batch", "At most.", 1, 10_000, "events"],
    ["max_body_bytes", 1_048_576, "Body of a signed call", "At most.", 1_024, 67_108_864, "bytes"],
    ["max_timestamp_skew", 600, "Clock of a backend", "How far it may be off.", 1, 86_400, "s"],
    ["max_calls_per_second", null, "Calls of backends", "On one node. Empty: no bound.", 1, 1_000_000, "per second"],
    ["max_publications_per_second", null, "Publications of backends", "On one node, once for each channel. Empty: no bound.", 1, 1_000_000, "per second"],
    ["max_presence_rejoins_per_second", 3, "Rejoins of a presence channel", "Of one socket.", 1, 1_000_000, "per second"],
    ["max_client_events_per_second", 10, "Client events", "Of one socket.", 1, 1_000_000, "per second"],
  ]],
  ["Limits of channels and users", [
    ["max_channel_name_length", 200, "Name of a channel", "At most.", 1, 1_000, "characters"],
    ["max_presence_members", 100, "Members of a presence channel", "At most.", 1, 1_000_000, "members"],
    ["max_member_id_length", 128, "Id of a member", "At most.", 1, 1_000, "characters"],
    ["max_user_info_bytes", 1_024, "Info of a member", "At most, as JSON.", 2, 1_048_576, "bytes"],
    ["max_user_id_length", 200, "Id of a user who signs in", "At most.", 1, 1_000, "characters"],
    ["max_watchlist_ids", 100, "Users one user may watch", "At most.", 0, 100_000, "users"],
  ]],
  ["Silence", [
    ["activity_timeout", 120, "Silence before a ping", "How long a client may be silent.", 1, 3_600, "s"],
    ["pong_timeout", 30, "Silence after a ping", "Then it is closed.", 1, 3_600, "s"],
  ]],
  ["Webhooks", [
    ["webhook_grace", 3, "Grace", "How long webhooks wait with telling that a channel or a member is gone.", 0, 60, "s"],
    ["webhook_retry_span", 300, "Try again for", "How long a webhook that fails is tried again.", 0, 300, "s"],
    ["webhooks", [], "Webhooks", "Who is told what happens in channels: at most 20."],
  ]],
  ["Further keys", [
    ["additional_keys", [], "Additional keys", "Pairs that are good besides the app's own."],
  ]],
]

/**
 * An editor: its element, a way to set its value, and to say a fault.
 *
 * @param {Array} setting a row of the table
 * @param {function} changed (value) undefined when what was typed is none
 */
export function editor(setting, value, changed) {
  const [name, otherwise, label, meaning] = setting
  if (typeof otherwise === "boolean") return switched(setting, value, changed)
  if (name === "allowed_origins") return lines(setting, value, changed)
  if (typeof otherwise === "number" || otherwise === null) return number(setting, value, changed)
  return json([name, otherwise, label, meaning], value, changed)
}

function switched([, otherwise, label, meaning], value, changed) {
  const { element, input } = toggle(label, value, changed, { hint: `${meaning} ${otherwise ? "On" : "Off"} by default.` })
  return { element, set: (newer) => { input.checked = newer }, tell: () => {} }
}

function number([, otherwise, label, meaning, least, most, unit], value, changed) {
  const input = h("input", { type: "number", min: least, max: most, step: 1, value: value ?? "", inputmode: "numeric", placeholder: otherwise ?? "no bound",
    oninput: () => read() })
  const { element, tell } = field(label, input, {
    hint: least === undefined ? meaning : `${meaning} ${count(least)} to ${count(most)}${otherwise === null ? "" : `, by default ${count(otherwise)}`}.`,
    after: h("span", { class: "unit" }, unit),
  })
  function read() {
    const typed = input.value.trim()
    if (typed === "" && !input.validity.badInput) {
      // What is emptied is what it was in the beginning.
      tell(null)
      return changed(otherwise)
    }
    const isWell = input.checkValidity() && /^\d+$/.test(typed)
    tell(isWell ? null : `A whole number from ${count(least ?? 0)} to ${count(most ?? 4_294_967_295)}.`)
    changed(isWell ? Number(typed) : undefined)
  }
  return { element, tell, set: (newer) => { input.value = newer ?? ""; tell(null) } }
}

function lines([, , label, meaning], value, changed) {
  const written = (list) => list.join("\n")
  const input = h("textarea", { rows: 3, spellcheck: "false", autocapitalize: "off", value: written(value),
    oninput: () => changed(input.value.split("\n").map((line) => line.trim()).filter(Boolean)) })
  const { element, tell } = field(label, input, { hint: meaning, classes: "wide-field" })
  return { element, tell, set: (newer) => { input.value = written(newer); tell(null) } }
}

function json([, , label, meaning], value, changed) {
  const written = (newer) => JSON.stringify(newer, null, 2)
  const input = h("textarea", { class: "code", rows: 3, spellcheck: "false", value: written(value), oninput: () => {
    try {
      changed(JSON.parse(input.value))
      tell(null)
    } catch {
      changed(undefined)
      tell("Not JSON.")
    }
  } })
  const { element, tell } = field(label, input, { hint: meaning, classes: "wide-field" })
  return { element, tell, set: (newer) => { input.value = written(newer); tell(null) } }
}

/** What a webhook can be told. */
const NOTICES = ["channel_occupied", "channel_vacated", "member_added", "member_removed", "client_event", "cache_miss", "subscription_count"]

/** The webhooks, one below the other, each with all that it may have. */
export function webhooksEditor([, , label, meaning], value, changed) {
  const rows = h("div", { class: "stack" })
  const fault = h("p", { class: "field-fault", "aria-live": "polite" })
  let entries = []
  const tell = (message) => say(fault, message ?? "")
  const report = () => changed(entries.map(({ read }) => read()))
  const set = (newer) => {
    entries = newer.map(add)
    put(rows, entries.map(({ element }) => element))
    tell(null)
  }
  function add(webhook) {
    const entry = webhookEditor(webhook, report, () => {
      entries = entries.filter((other) => other !== entry)
      entry.element.remove()
      report()
      more.focus()
    })
    return entry
  }
  const more = button("Add a webhook", () => {
    const entry = add({ url: "" })
    entries.push(entry)
    rows.append(entry.element)
    entry.element.querySelector("input").focus()
    report()
  }, { classes: "small" })
  set(value)
  const element = h("div", { class: "wide-field", role: "group", "aria-label": label },
    h("p", { class: "hint" }, meaning), rows, fault, more)
  return { element, set, tell }
}

function webhookEditor(webhook, report, drop) {
  const text = (value, more) => h("input", { type: "text", value: value ?? "", autocomplete: "off", autocapitalize: "off", spellcheck: "false", oninput: report, ...more })
  const url = field("URL", text(webhook.url, { type: "url", placeholder: "https://", required: true }))
  const starts = field("Only channels that begin with", text(webhook.filter?.channel_name_starts_with))
  const ends = field("Only channels that end with", text(webhook.filter?.channel_name_ends_with))
  const written = Object.entries(webhook.headers ?? {}).map(([name, own]) => `${name}: ${own}`).join("\n")
  const headers = field("Headers", h("textarea", { rows: 2, value: written, spellcheck: "false", placeholder: "X-Token: something", oninput: report }), { hint: "Name: value, one in a line." })
  const batch = toggle("Batch", webhook.batch ?? false, report, { hint: "Up to 100 events in one request." })
  const chosen = NOTICES.map((notice) => h("label", { class: "chip" },
    h("input", { type: "checkbox", value: notice, checked: webhook.events?.includes(notice) ?? false, onchange: report }), notice))
  const element = h("fieldset", { class: "entry" }, h("legend", { class: "away" }, "Webhook"),
    url.element,
    h("fieldset", { class: "chips" }, h("legend", {}, "Events (none chosen: all)"), chosen),
    h("div", { class: "form-grid" }, starts.element, ends.element, headers.element, batch.element),
    button("Remove this webhook", drop, { classes: "small danger-quiet" }))

  function read() {
    const events = chosen.map(({ firstChild }) => firstChild).filter(({ checked }) => checked).map(({ value }) => value)
    const filter = { channel_name_starts_with: starts.input.value.trim(), channel_name_ends_with: ends.input.value.trim() }
    const pairs = headers.input.value.split("\n").filter((line) => line.trim()).map((line) => {
      const [name, ...rest] = line.split(":")
      return [name.trim(), rest.join(":").trim()]
    })
    return {
      url: url.input.value.trim(),
      ...(events.length && { events }),
      ...((filter.channel_name_starts_with || filter.channel_name_ends_with) && { filter: Object.fromEntries(Object.entries(filter).filter(([, own]) => own)) }),
      ...(pairs.length && { headers: Object.fromEntries(pairs) }),
      batch: batch.input.checked,
    }
  }
  return { element, read }
}
