// Elements. What comes from elsewhere enters the page as text, here and nowhere else; so nothing of it is ever markup.

const SVG = "http://www.w3.org/2000/svg"

/** What is a property of an element rather than a word in its source. */
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "readOnly", "open", "textContent", "tabIndex"])

/**
 * An element of HTML.
 *
 * @param {Object} attributes `onclick` and the like are listeners; absent, null and false are left out
 * @param {...(Node|string|Array|null|false)} children texts stay texts
 */
export function h(tag, attributes, ...children) {
  return complete(document.createElement(tag), attributes, children)
}

/** An element of a drawing. */
export function svg(tag, attributes, ...children) {
  return complete(document.createElementNS(SVG, tag), attributes, children)
}

function complete(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
    else if (PROPERTIES.has(name)) element[name] = value
    else if (value === true) element.setAttribute(name, "")
    else if (value !== false && value != null) element.setAttribute(name, value)
  }
  element.append(...present(children))
  return element
}

/** Puts these in the place of what is in it. */
export function put(element, ...children) {
  element.replaceChildren(...present(children))
  return element
}

function present(children) {
  return children.flat(Infinity).filter((child) => child != null && child !== false)
}

/** Changes a text only if it differs, so that readers of screens are told once. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text
  return element
}

/**
 * Brings the children of `parent` in line with `items`, and leaves those alone that stay: focus and selection survive.
 *
 * @param {function} make item -> {element, update?}; update is called with each newer item of the same key
 */
export function keyed(parent, keyOf, make) {
  let rows = new Map()
  return (items) => {
    const next = new Map()
    let at = parent.firstElementChild
    for (const item of items) {
      const key = keyOf(item)
      const row = rows.get(key) ?? make(item)
      row.update?.(item)
      next.set(key, row)
      if (row.element === at) at = at.nextElementSibling
      else parent.insertBefore(row.element, at)
    }
    for (const [key, row] of rows) if (!next.has(key)) row.element.remove()
    rows = next
  }
}

/**
 * Does something now and again and again, one at a time, while somebody looks at the page.
 *
 * @param {AbortSignal} signal ends it
 */
export function repeat(period_ms, signal, task) {
  let timer
  let running = false
  const turn = async () => {
    clearTimeout(timer)
    if (signal.aborted || running || document.hidden) return
    running = true
    await task()
    running = false
    if (!signal.aborted) timer = setTimeout(turn, period_ms)
  }
  document.addEventListener("visibilitychange", turn, { signal })
  signal.addEventListener("abort", () => clearTimeout(timer))
  turn()
  return turn
}

/** Calls a function when nothing more came for a moment, such as keys in a field. */
export function calm(task, delay_ms = 200) {
  let timer
  return () => {
    clearTimeout(timer)
    timer = setTimeout(task, delay_ms)
  }
}

/** An id that labels can refer to. */
export function fresh(prefix) {
  fresh.last = (fresh.last ?? 0) + 1
  return `${prefix}-${fresh.last}`
}
