// The settings of an app, for the super admin; its admin sees the keys. Only what was changed is sent.

import { of, patch, remove } from "./api.js"
import { h, say } from "./dom.js"
import { plural } from "./format.js"
import { editor, GROUPS, webhooksEditor } from "./fields.js"
import { keysCard } from "./keys.js"
import { announce, button, confirm, faultLine, working } from "./parts.js"

/** @param {AbortSignal} signal the tab is left */
export function settingsTab(shared, signal) {
  if (!shared.app.settings) return [keysCard(shared, () => {}), removal(shared)]
  const form = settingsForm(shared, signal)
  return [keysCard(shared, form.renewed), form.element, removal(shared)]
}

function settingsForm({ app, changed }, signal) {
  let draft = structuredClone(app.settings)
  /** Names of settings whose field holds what is no value. */
  const broken = new Set()
  const editors = new Map()
  const fault = faultLine()
  const go = h("button", { type: "submit", class: "button primary" }, "Save changes")
  const differing = () => Object.keys(draft).filter((name) => JSON.stringify(draft[name]) !== JSON.stringify(app.settings[name]))
  const told = h("span", { role: "status" })

  function tell() {
    const number = new Set([...differing(), ...broken]).size
    say(told, number ? plural(number, "unsaved change") : "")
    bar.classList.toggle("shown", number > 0)
    bar.inert = number === 0
  }

  function made(setting) {
    const [name] = setting
    const make = name === "webhooks" ? webhooksEditor : editor
    const one = make(setting, draft[name], (value) => {
      if (value === undefined) broken.add(name)
      else {
        broken.delete(name)
        draft[name] = value
      }
      tell()
    })
    editors.set(name, one)
    return one.element
  }

  function renewed() {
    draft = { ...draft, additional_keys: structuredClone(app.settings.additional_keys) }
    tell()
  }

  function discard() {
    draft = structuredClone(app.settings)
    broken.clear()
    fault.tell(null)
    for (const [name, { set }] of editors) set(draft[name])
    tell()
  }

  const save = working(go, async () => {
    fault.tell(null)
    for (const { tell: take } of editors.values()) take(null)
    if (broken.size) return point([...broken][0], "This is no value: change it, or discard.")
    const names = differing()
    try {
      const settings = await patch(of(app.app_key, "settings"), Object.fromEntries(names.map((name) => [name, draft[name]])))
      changed({ settings })
      discard()
      announce("Saved.")
    } catch (error) {
      // The node begins with the name of the setting.
      const name = error.message.split(" ")[0].toLowerCase()
      if (editors.has(name)) point(name, error.message)
      fault.tell(error)
    }
  })

  function point(name, message) {
    const { element, tell: say_so } = editors.get(name)
    say_so(message)
    element.scrollIntoView({ block: "center" })
    element.querySelector("input, textarea")?.focus({ preventScroll: true })
  }

  const rest = Object.keys(draft).filter((name) => !GROUPS.some(([, rows]) => rows.some(([own]) => own === name)))
  const unknown = rest.map((name) => [name, draft[name], name, ""])
  // Pairs are added and removed above, with their keys.
  const groups = [...GROUPS, ["Others", unknown]]
    .map(([title, rows]) => [title, rows.filter(([name]) => name in draft && name !== "additional_keys")])
    .filter(([, rows]) => rows.length)
  const bar = h("div", { class: "save-bar", inert: true }, told, fault.element,
    h("span", { class: "actions" }, button("Discard", discard), go))
  const element = h("form", { class: "stack", novalidate: true, onsubmit: save, "aria-label": "Settings" },
    groups.map(([title, rows]) => h("section", { class: "card", "aria-label": title },
      h("div", { class: "card-head" }, h("h2", {}, title)), h("div", { class: "form-grid" }, rows.map(made)))), bar)
  addEventListener("beforeunload", (event) => differing().length && event.preventDefault(), { signal })
  tell()
  return { element, renewed }
}

function removal({ app }) {
  const { app_key } = app
  const ask = () => confirm({
    title: `Remove ${app_key}?`,
    text: "Its sockets are closed at once, its settings and keys are gone, and its key may be taken by another app. This cannot be undone.",
    word: app_key,
    does: "Remove app",
    act: async () => {
      await remove(of(app_key))
      announce(`${app_key} was removed.`)
      location.hash = "#/apps"
    },
  })
  return h("section", { class: "card danger-zone", "aria-label": "Remove" },
    h("div", { class: "card-head" }, h("h2", {}, "Remove this app"), button("Remove app", ask, { classes: "danger-quiet" })),
    h("p", { class: "hint" }, "You are asked to type its key."))
}
