// All apps: found by their names, and a new one.

import { get, post } from "./api.js"
import { h, keyed, repeat, say } from "./dom.js"
import { count, date, plural } from "./format.js"
import { announce, badge, button, dialog, empty, faultLine, field, pageHead, table, working } from "./parts.js"

const PERIOD_MS = 5_000

/** @param {AbortSignal} signal the page is left */
export function appsPage(signal) {
  let apps = []
  const fault = faultLine()
  const found = h("span", { class: "hint", role: "status" })
  const filter = h("input", { type: "search", "aria-label": "Filter apps", placeholder: "Filter by key, id or admin", oninput: () => show() })
  const list = table("Apps", [
    ["App"], ["Id", "wide-only"], ["Admin", "wide-only"], ["Connections", "number"], ["Users", "number"],
    ["Channels", "number"], ["Registered", "wide-only"],
  ], { class: "rows" })
  const update = keyed(list.body, ({ app_key }) => app_key, row)
  const nothing = h("div", { hidden: true })
  const add = button("Add an app", () => addDialog(), { classes: "primary" })
  const page = h("div", { class: "page" },
    pageHead("Apps", add), h("div", { class: "bar" }, filter, found), fault.element, list.element, nothing)

  function show() {
    const word = filter.value.trim().toLowerCase()
    const fits = ({ app_key, app_id, account }) =>
      [app_key, app_id, account].some((text) => String(text).toLowerCase().includes(word))
    const shown = apps.filter(fits)
    update(shown)
    say(found, word ? `${count(shown.length)} of ${plural(apps.length, "app")}` : plural(apps.length, "app"))
    list.element.hidden = !shown.length
    nothing.hidden = Boolean(shown.length)
    if (!shown.length) nothing.replaceChildren(apps.length ? noneFits() : noneAtAll())
  }

  const noneFits = () => empty("No app fits", "Its key, id or admin would have to contain what you typed.")
  const noneAtAll = () => empty("No apps yet", "An app is what clients connect to and backends publish to: add the first one.",
    button("Add the first app", () => addDialog(), { classes: "primary" }))

  repeat(PERIOD_MS, signal, async () => {
    try {
      apps = (await get("apps", signal)).apps
      fault.tell(null)
      show()
    } catch (error) {
      if (error.name !== "AbortError") fault.tell(error)
    }
  })
  return { element: page, title: "Apps", place: "apps" }
}

const address = (key, tab) => `#/apps/${encodeURIComponent(key)}${tab ? `/${tab}` : ""}`

function row(app) {
  const cells = [["connections", "Connections"], ["users", "Users"], ["channels", "Channels"]].map(([name, title]) =>
    [name, h("td", { class: "number", "data-label": title })])
  const state = h("span")
  const [connections, users, channels] = cells.map(([, cell]) => cell)
  const element = h("tr", {},
    h("td", { class: "name" }, h("a", { href: address(app.app_key) }, app.app_key), " ", state),
    h("td", { class: "wide-only" }, app.app_id), h("td", { class: "wide-only" }, app.account),
    connections, users, channels, h("td", { class: "wide-only hint" }, date(app.registered)))
  const update = (newer) => {
    for (const [name, cell] of cells) say(cell, count(newer[name]))
    state.replaceChildren(...(newer.enabled ? [] : [badge("disabled", "bad")]))
  }
  return { element, update }
}

function addDialog() {
  const input = (attributes) => h("input", { type: "text", required: true, autocomplete: "off", autocapitalize: "off", spellcheck: "false", ...attributes })
  const key = field("Key", input({ autofocus: true, maxlength: 200 }), { hint: "Clients name it when they connect, so it is no secret. It stays as it is." })
  const account = field("Admin account", input(), { hint: "Whose backends push to this app and see its users." })
  const password = field("Admin password", input({ type: "password", autocomplete: "new-password" }), { hint: "Kept as a hash: nobody can show it to you later." })
  const hook = field("Connect hook", input({ type: "url", required: false, placeholder: "https://" }),
    { hint: "Optional. Asked before a client of Gusher's own protocol is let in; without it, everybody is." })
  const go = h("button", { type: "submit", class: "button primary" }, "Add app")
  const fault = faultLine()
  const submit = working(go, async () => {
    fault.tell(null)
    const app_key = key.input.value.trim()
    const connect_hook = hook.input.value.trim()
    try {
      await post("apps", { app_key, account: account.input.value.trim(), password: password.input.value, ...(connect_hook && { connect_hook }) })
      opened.close()
      announce(`${app_key} was added.`)
      location.hash = address(app_key, "snippets")
    } catch (error) {
      fault.tell(error)
    }
  })
  const opened = dialog("Add an app", h("form", { onsubmit: submit },
    key.element, account.element, password.element, hook.element, fault.element,
    h("div", { class: "actions" }, button("Cancel", () => opened.close()), go)))
}
