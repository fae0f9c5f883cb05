// How the webhooks of an app fare, what was told lately, and trying again.

import { get, of, post } from "./api.js"
import { h, keyed, put, repeat, say } from "./dom.js"
import { count, date, plural, time } from "./format.js"
import { announce, badge, button, empty, faultLine, table, working } from "./parts.js"

const PERIOD_MS = 3_000

const OUTCOMES = { delivered: "good", failed: "warn", given_up: "bad", dropped: "bad" }

const FIGURES = [["waiting", "Waiting"], ["delivered", "Delivered"], ["failed_attempts", "Failed attempts"], ["given_up", "Given up"], ["dropped", "Dropped"]]

/** @param {AbortSignal} signal the tab is left */
export function webhooksTab({ app, session, open }, signal) {
  const path = of(app.app_key, "webhooks")
  const fault = faultLine()
  const cards = h("div", { class: "cards two" })
  const log = table("Webhook log", [["Time"], ["Webhook"], ["Events", "wide-only"], ["Outcome"], ["Attempt", "number wide-only"], [""]], { class: "rows" })
  const nothing = h("div", { hidden: true })
  const quiet = empty("Nothing told yet", "What is told from now on is listed here: the last 100 requests of this node.")
  const logged = h("section", { class: "stack", hidden: true }, h("h2", {}, "Log"), log.element, quiet)

  const retry = async (what) => {
    try {
      const { retried } = await post(`${path}/retry`, what)
      announce(retried ? `${plural(retried, "event")} tried again.` : "Nothing was waiting.")
      fault.tell(null)
    } catch (error) {
      fault.tell(error)
    }
    await ask()
  }
  const showReports = keyed(cards, ({ url }) => url, (report) => card(report, retry))
  const showLog = keyed(log.body, (entry) => `${entry.id} ${entry.attempt} ${entry.outcome} ${entry.time_ms}`, (entry) => logRow(entry, retry))

  async function ask() {
    try {
      show(await get(path, signal))
      fault.tell(null)
    } catch (error) {
      if (error.name !== "AbortError") fault.tell(error)
    }
  }

  function show(answer) {
    showReports(answer.webhooks)
    showLog(answer.log)
    const hasLog = answer.log.length > 0
    log.element.hidden = !hasLog
    quiet.hidden = hasLog
    logged.hidden = !answer.webhooks.length && !hasLog
    nothing.hidden = answer.webhooks.length > 0
    if (!nothing.hidden && !nothing.childElementCount) put(nothing, none(session, open))
  }

  repeat(PERIOD_MS, signal, ask)
  return [fault.element, cards, nothing, logged]
}

function none(session, open) {
  const isSuper = session.kind === "super"
  return empty("No webhooks", isSuper
    ? "A webhook tells your backend when channels are occupied or vacated, members come and go, and clients send events."
    : "A webhook tells your backend what happens in channels. The super admin can add one in the settings of this app.",
  isSuper && button("Add a webhook", () => open("settings"), { classes: "primary" }))
}

function card(report, retry) {
  const values = FIGURES.map(([name, title]) => [name, h("dd"), title])
  const last = h("p", { class: "hint" })
  const again = button("Try now", () => {}, { classes: "small", "aria-label": `Try now what waits for ${report.url}` })
  again.addEventListener("click", working(again, () => retry({ url: report.url })))
  const element = h("section", { class: "card", "aria-label": report.url },
    h("div", { class: "card-head" }, h("h2", { class: "url" }, report.url), again),
    h("dl", { class: "figures" }, values.map(([, value, title]) => h("div", {}, h("dt", {}, title), value))), last)
  const update = (newer) => {
    for (const [name, value] of values) say(value, count(newer[name]))
    again.disabled = !newer.waiting
    say(last, newer.last ? `Last attempt ${date(newer.last.time_ms)}: ${answerOf(newer.last)}` : "Nothing was told yet.")
  }
  return { element, update }
}

const answerOf = ({ status, error, fault }) => [status && `status ${status}`, error ?? fault].filter(Boolean).join(", ") || "no answer"

function logRow(entry, retry) {
  const { id, time_ms, url, events, body, outcome, attempt } = entry
  const again = button("Retry", () => {}, { classes: "small", "aria-label": `Retry ${[events].flat().join(", ")} to ${url}` })
  again.addEventListener("click", working(again, () => retry({ id })))
  const details = h("details", {}, h("summary", {}, url), h("pre", {}, pretty(body)))
  const element = h("tr", {},
    h("td", { class: "hint" }, time(time_ms)), h("td", { class: "name" }, details),
    h("td", { class: "wide-only" }, [events].flat().join(", ")),
    h("td", {}, badge(outcome.replace("_", " "), OUTCOMES[outcome]), " ", h("span", { class: "hint" }, outcome === "dropped" ? "" : answerOf(entry))),
    h("td", { class: "number wide-only" }, attempt ?? ""), h("td", { class: "number act" }, again))
  // What was given up can be told once more, as long as the node has it.
  return { element, update: (newer) => { again.hidden = !newer.can_retry } }
}

/** As it is when it was cut. */
function pretty(body) {
  if (typeof body !== "string") return JSON.stringify(body, null, 2)
  try {
    return JSON.stringify(JSON.parse(body), null, 2)
  } catch {
    return body
  }
}
