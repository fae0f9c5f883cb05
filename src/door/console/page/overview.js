// The node at a glance: what it holds, what passes through it, and what it costs. The figures are totals since the start
// of the node; rates are made of two of them.

import { get } from "./api.js"
import { chart, SPAN_MS } from "./charts.js"
import { h, put, repeat, say } from "./dom.js"
import { besides, brief, bytes, count, duration, percent } from "./format.js"
import { badge, faultLine, pageHead, table } from "./parts.js"

const PERIOD_MS = 2_000

/** Two samples further apart than this have nothing to say about the time between them. */
const GAP_MS = 10_000

/** What was seen last: goes on on every page, so that a chart has no hole when one comes back to it. */
const seen = { samples: [], latest: null, fault: null, changed: () => {} }

/** Looks at the node until the signal. */
export function watchNode(signal) {
  Object.assign(seen, { samples: [], latest: null, fault: null })
  repeat(PERIOD_MS, signal, async () => {
    try {
      learn(await get("overview", signal))
    } catch (fault) {
      if (fault.name === "AbortError") return
      seen.fault = fault
    }
    seen.changed()
  })
}

function learn(overview) {
  const before = seen.latest
  const elapsed_ms = before ? overview.time_ms - before.time_ms : 0
  const isNext = before && elapsed_ms > 0 && elapsed_ms < GAP_MS && overview.uptime_seconds >= before.uptime_seconds
  if (before && !isNext) seen.samples.push({ time_ms: overview.time_ms, rates: null, overview: null })
  const rate = (pick) => Math.max(0, (pick(overview) - pick(before)) / (elapsed_ms / 1_000))
  const rates = isNext && {
    published: rate(({ published }) => published),
    delivered: rate(({ delivered }) => delivered),
    bytes_in: rate(({ bytes_in }) => bytes_in),
    bytes_out: rate(({ bytes_out }) => bytes_out),
    cpu: rate(({ cpu_seconds }) => cpu_seconds) * 100,
    refused: rate(refused),
    told: rate(({ webhooks }) => webhooks.delivered),
    failed: rate(({ webhooks }) => webhooks.failed_attempts),
  }
  seen.samples.push({ time_ms: overview.time_ms, rates: rates || null, overview })
  seen.samples = seen.samples.filter(({ time_ms }) => time_ms >= overview.time_ms - SPAN_MS)
  seen.latest = overview
  seen.fault = null
}

const refused = ({ refusals }) => refusals.reduce((sum, [, number]) => sum + number, 0)

const DIALECTS = [
  { name: "Pusher", colour: "c1", pick: ({ connections }) => connections.pusher },
  { name: "Gusher", colour: "c2", pick: ({ connections }) => connections.gusher },
  { name: "Cluster", colour: "c3", pick: ({ connections }) => connections.cluster },
]

/** Charts: title, series (of the overview, or of rates), how values are written. */
const charts = () => [
  plot("Connections", DIALECTS, brief, { least: 2 }),
  plot("Messages per second", [
    { name: "published", colour: "c1", of: "published" }, { name: "delivered", colour: "c2", of: "delivered" },
  ], brief, { least: 2 }),
  plot("Bytes per second", [
    { name: "in", colour: "c1", of: "bytes_in" }, { name: "out", colour: "c2", of: "bytes_out" },
  ], bytes, { least: 1024, binary: true }),
  plot("Memory", [
    { name: "in use", colour: "c1", pick: ({ memory_bytes }) => memory_bytes },
  ], bytes, { least: 1024 * 1024, binary: true }),
  plot("CPU", [{ name: "busy", colour: "c1", of: "cpu" }], percent, { least: 10, note: "100 % is one core" }),
  plot("Refusals and webhooks per second", [
    { name: "refused", colour: "c4", of: "refused" },
    { name: "webhooks told", colour: "c2", of: "told" },
    { name: "failed", colour: "c3", of: "failed" },
  ], brief, { least: 2 }),
]

function plot(title, series, format, more) {
  const { element, draw } = chart(title, series, format, more)
  const value = ({ rates, overview }) => ({ of, pick }) => of ? rates?.[of] : overview && pick(overview)
  const point = (sample) => {
    const values = series.map(value(sample))
    return { time_ms: sample.time_ms, values: values.includes(undefined) || values.includes(null) ? null : values }
  }
  return { element, draw: () => draw(seen.samples.map(point)) }
}

/** @param {AbortSignal} signal the page is left */
export function overviewPage(signal) {
  const drawn = charts()
  const facts = h("div", { class: "facts" }, " ")
  const whose = h("p", { class: "hint" }, "The figures of this node alone.")
  const fault = faultLine()
  const reasons = table("Refusals since the start", [["Refusal"], ["Count", "number"]])
  const webhooks = table("Webhooks since the start", [["Webhooks"], ["Count", "number"]])
  const node = table("Node", [["Node"], ["", "number"]])
  const page = h("div", { class: "page" },
    pageHead("Overview", facts), whose, fault.element,
    h("div", { class: "cards" }, drawn.map(({ element }) => element)),
    h("div", { class: "cards" }, [node, reasons, webhooks].map(({ element }) => h("section", { class: "card plain" }, element))))

  const show = () => {
    fault.tell(seen.fault && `${seen.fault.message} What you see is older; trying again.`)
    if (!seen.latest) return
    facts.replaceChildren(...chips(seen.latest))
    say(whose, `The figures of this node alone; ${besides(seen.latest.other_nodes)}.`)
    for (const { draw } of drawn) draw()
    rows(node.body, nodeRows(seen.latest))
    rows(reasons.body, seen.latest.refusals.filter(([, number]) => number).map(([status, number]) => [`status ${status}`, count(number)]), "Nobody was refused.")
    rows(webhooks.body, webhookRows(seen.latest))
  }
  seen.changed = show
  signal.addEventListener("abort", () => { seen.changed = () => {} })
  show()
  return { element: page, title: "Overview", place: "overview" }
}

function chips({ version, uptime_seconds, bus, node }) {
  const isWell = bus?.up && bus?.ready
  return [
    badge(`up ${duration(uptime_seconds)}`, "good"),
    badge(`version ${version}`),
    bus && badge(`${bus.kind} ${bus.up ? (bus.ready ? "ready" : "joining") : "down"}`, isWell ? "good" : "bad"),
    node.id && badge(`node ${node.id}`),
  ].filter(Boolean)
}

function nodeRows({ connections, other_nodes, published, delivered, bytes_in, bytes_out, slow_cuts, outbox_bytes, cpu_seconds }) {
  const all = connections.gusher + connections.cluster + connections.pusher
  return [
    ["Connections", connections.max ? `${count(all)} of at most ${count(connections.max)}` : count(all)],
    ["Other nodes", other_nodes == null ? "unknown" : count(other_nodes)],
    ["Published", count(published)],
    ["Delivered", count(delivered)],
    ["Received", bytes(bytes_in)],
    ["Sent", bytes(bytes_out)],
    ["Waiting to be sent", bytes(outbox_bytes)],
    ["Closed for reading too slowly", count(slow_cuts)],
    ["CPU time", duration(cpu_seconds)],
  ]
}

function webhookRows({ webhooks }) {
  return [
    ["Delivered", count(webhooks.delivered)],
    ["Waiting", count(webhooks.waiting)],
    ["Failed attempts", count(webhooks.failed_attempts)],
    ["Given up", count(webhooks.given_up)],
    ["Dropped", count(webhooks.dropped)],
  ]
}

/** Rows of a name and a value; those that stay are kept, so that a selection in them survives. */
function rows(body, entries, otherwise) {
  if (!entries.length) return put(body, h("tr", {}, h("td", { colspan: 2, class: "hint" }, otherwise)))
  const names = [...body.rows].map((row) => row.cells[0].textContent)
  if (names.join("\n") !== entries.map(([name]) => name).join("\n")) {
    put(body, entries.map(([name]) => h("tr", {}, h("td", {}, name), h("td", { class: "number" }))))
  }
  entries.forEach(([, value], index) => say(body.rows[index].cells[1], value))
}
