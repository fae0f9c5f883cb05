// Parts that several pages have: fields, tabs, dialogs, what is said and where.

import { fresh, h, put, say } from "./dom.js"

/** Says something in passing, also to readers of screens. */
export function announce(text) {
  const status = document.getElementById("status")
  say(status, "")
  status.textContent = text
  status.classList.add("shown")
  clearTimeout(announce.timer)
  announce.timer = setTimeout(() => status.classList.remove("shown"), 3_500)
}

/** A place for a fault, beside what caused it. `tell(null)` takes it back. */
export function faultLine() {
  const element = h("p", { class: "fault", role: "alert", hidden: true })
  const tell = (fault) => {
    element.hidden = !fault
    say(element, fault ? fault.message ?? String(fault) : "")
  }
  return { element, tell }
}

/**
 * A field with its label. `input` may be an input, a select or a textarea.
 *
 * @param {{hint?: string, after?: Node, kept?: boolean}} more `kept`: there is always room for a fault below
 */
export function field(label, input, { hint, after, classes = "" } = {}) {
  input.id ||= fresh("field")
  const fault = h("span", { class: "field-fault", id: `${input.id}-fault`, "aria-live": "polite" })
  const described = [hint && `${input.id}-hint`, fault.id].filter(Boolean).join(" ")
  input.setAttribute("aria-describedby", described)
  const element = h("div", { class: `field ${classes}` },
    h("label", { for: input.id }, label),
    h("span", { class: "field-input" }, input, after),
    hint && h("span", { class: "hint", id: `${input.id}-hint` }, hint),
    fault)
  const tell = (message) => {
    say(fault, message ?? "")
    if (message) input.setAttribute("aria-invalid", "true")
    else input.removeAttribute("aria-invalid")
  }
  return { element, input, tell }
}

/** A switch. */
export function toggle(label, checked, onchange, { hint } = {}) {
  const input = h("input", { type: "checkbox", role: "switch", id: fresh("switch"), checked, onchange: () => onchange(input.checked) })
  const hintId = `${input.id}-hint`
  if (hint) input.setAttribute("aria-describedby", hintId)
  const element = h("div", { class: "toggle" }, input,
    h("label", { for: input.id }, label), hint && h("span", { class: "hint", id: hintId }, hint))
  return { element, input }
}

export function button(label, onclick, { classes = "", ...attributes } = {}) {
  return h("button", { type: "button", class: `button ${classes}`, onclick, ...attributes }, label)
}

/** A button that is out of use while what it started is on its way. */
export function working(element, task) {
  return async (event) => {
    event?.preventDefault()
    if (element.getAttribute("aria-busy") === "true") return
    element.setAttribute("aria-busy", "true")
    try {
      await task(event)
    } finally {
      element.removeAttribute("aria-busy")
    }
  }
}

/**
 * Tabs, of which one is shown. Arrows, Home and End move between them.
 *
 * @param {Array<[string, string]>} entries id and title
 * @param {function} show (id) is called with the chosen one, also with the first
 */
export function tabs(label, entries, chosen, show) {
  const prefix = fresh("tabs")
  const panel = h("div", { role: "tabpanel", id: `${prefix}-panel`, class: "panel", tabIndex: 0 })
  const items = entries.map(([id, title]) => h("button", {
    type: "button", role: "tab", id: `${prefix}-${id}`, "aria-controls": panel.id, onclick: () => choose(id),
  }, title))
  const list = h("div", { role: "tablist", class: "tabs", "aria-label": label, onkeydown: move }, items)

  function move(event) {
    const now = items.indexOf(document.activeElement)
    const last = items.length - 1
    const to = { ArrowRight: now === last ? 0 : now + 1, ArrowLeft: now === 0 ? last : now - 1, Home: 0, End: last }[event.key]
    if (to === undefined || now < 0) return
    event.preventDefault()
    items[to].focus()
    choose(entries[to][0])
  }

  function choose(id) {
    items.forEach((item, index) => {
      const isChosen = entries[index][0] === id
      item.setAttribute("aria-selected", String(isChosen))
      item.tabIndex = isChosen ? 0 : -1
      if (isChosen) panel.setAttribute("aria-labelledby", item.id)
      // Only sideways, in the list itself: the page must not jump.
      if (isChosen) requestAnimationFrame(() => list.scrollTo({ left: item.offsetLeft - list.offsetLeft - (list.clientWidth - item.offsetWidth) / 2 }))
    })
    show(id, panel)
  }

  const start = () => choose(chosen)
  return { list, panel, choose, start }
}

/**
 * A dialog over the page. The browser keeps the focus in it, closes it on Escape, and gives the focus back.
 *
 * @returns {{close: function, element: HTMLDialogElement}}
 */
export function dialog(title, ...content) {
  const heading = h("h2", { id: fresh("dialog") }, title)
  const element = h("dialog", { "aria-labelledby": heading.id, onclose: () => element.remove() },
    h("div", { class: "dialog-head" }, heading,
      h("button", { type: "button", class: "icon", "aria-label": "Close", onclick: () => element.close() }, "×")),
    content)
  document.body.append(element)
  element.showModal()
  element.querySelector("[autofocus]")?.focus()
  return { close: () => element.close(), element }
}

/**
 * Asks before something is destroyed. With `word`, that has to be typed.
 *
 * @param {function} act does it; what it throws is said in the dialog
 */
export function confirm({ title, text, word, does, act }) {
  const fault = faultLine()
  const go = h("button", { type: "submit", class: "button danger", disabled: Boolean(word) }, does)
  const typed = word && field(`Type ${word} to confirm`, h("input", {
    type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false", autofocus: true,
    oninput: (event) => { go.disabled = event.target.value !== word },
  }))
  const submit = working(go, async () => {
    if (go.disabled) return
    try {
      await act()
      opened.close()
    } catch (error) {
      fault.tell(error)
    }
  })
  const opened = dialog(title, h("form", { onsubmit: submit },
    h("p", {}, text), typed?.element, fault.element,
    h("div", { class: "actions" }, button("Cancel", () => opened.close(), { autofocus: !word }), go)))
}

/** Copies a text, and says so. */
export function copyButton(label, text) {
  return button(label, async () => {
    const value = text()
    try {
      await navigator.clipboard.writeText(value)
      announce("Copied.")
    } catch {
      // Without TLS a browser has no clipboard for us, except on this machine; this older way still works.
      announce(copyBySelection(value) ? "Copied." : "The browser does not permit it: select the text and copy it.")
    }
  }, { classes: "small copy" })
}

function copyBySelection(value) {
  const before = document.activeElement
  const area = h("textarea", { class: "away", readOnly: true, value, "aria-hidden": "true" })
  ;(before?.closest("dialog") ?? document.body).append(area)
  area.select()
  const isCopied = document.execCommand("copy")
  area.remove()
  before?.focus()
  return isCopied
}

/** A secret that is shown when asked for. */
export function secret(label, value) {
  const text = h("code", { class: "secret" }, mask(value))
  const show = button("Show", () => {
    const isShown = show.getAttribute("aria-pressed") === "true"
    show.setAttribute("aria-pressed", String(!isShown))
    say(show, isShown ? "Show" : "Hide")
    say(text, isShown ? mask(value) : value)
  }, { classes: "small", "aria-pressed": "false", "aria-label": `Show ${label}` })
  return h("span", { class: "copied" }, text, show, copyButton("Copy", () => value))
}

/** As many dots whatever the secret is. */
export const mask = () => "•".repeat(20)

/** What is said where nothing is. */
export function empty(title, text, action) {
  return h("div", { class: "empty" }, h("strong", {}, title), h("p", {}, text), action)
}

/** A table in a box that scrolls by itself when the page is narrow. Columns: [title, class?]. */
export function table(label, columns, attributes = {}) {
  const body = h("tbody")
  const heads = columns.map(([title, classes]) => h("th", { scope: "col", class: classes }, title))
  const element = h("div", { ...attributes, class: `scroll ${attributes.class ?? ""}` },
    h("table", { "aria-label": label }, h("thead", {}, h("tr", {}, heads)), body))
  return { element, body }
}

export function badge(text, kind = "") {
  return h("span", { class: `badge ${kind}` }, text)
}

/** A heading of a page, with what belongs beside it. */
export function pageHead(title, ...beside) {
  return h("div", { class: "page-head" }, h("h1", { tabIndex: -1 }, title), put(h("div", { class: "beside" }), beside))
}
