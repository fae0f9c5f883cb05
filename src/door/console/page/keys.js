// What an app is known by: its id, key and secret, and the pairs that are good besides.

import { get, of, post, remove } from "./api.js"
import { h, put } from "./dom.js"
import { announce, button, confirm, copyButton, faultLine, secret, table, working } from "./parts.js"

/**
 * @param {function} changed is given the app when its keys are others
 */
export function keysCard({ app, session, changed }, renewed) {
  const isSuper = session.kind === "super"
  const fault = faultLine()
  const pairs = h("div")
  const rotate = isSuper && button("Add a key pair", () => {}, { classes: "small" })
  if (rotate) rotate.addEventListener("click", working(rotate, add))

  async function refresh() {
    changed(await get(of(app.app_key)))
    show()
    renewed()
  }

  async function add() {
    try {
      fault.tell(null)
      await post(of(app.app_key, "rotate"))
      await refresh()
      announce("A key pair was added.")
    } catch (error) {
      fault.tell(error)
    }
  }

  function drop(key) {
    confirm({
      title: "Remove this key pair?",
      text: `Whoever still signs or connects with ${key} is refused from then on.`,
      does: "Remove key pair",
      act: async () => {
        await remove(of(app.app_key, "keys", key))
        await refresh()
        announce("The key pair was removed.")
      },
    })
  }

  function show() {
    const further = app.settings?.additional_keys ?? []
    const list = table("Additional keys", [["Additional key"], ["Secret"], [""]])
    put(list.body, further.map((pair) => h("tr", {},
      h("td", { class: "name" }, h("code", {}, pair.key)), h("td", {}, secret(`secret of ${pair.key}`, pair.secret)),
      h("td", { class: "number" }, button("Remove", () => drop(pair.key), { classes: "small danger-quiet", "aria-label": `Remove key pair ${pair.key}` })))))
    put(pairs, further.length > 0 && list.element)
  }

  const known = (title, value) => [h("dt", {}, title), h("dd", {}, h("span", { class: "copied" }, h("code", {}, value), copyButton("Copy", () => value)))]
  const element = h("section", { class: "card", "aria-label": "Keys" },
    h("div", { class: "card-head" }, h("h2", {}, "Keys"), rotate),
    h("dl", { class: "known" },
      known("App id", app.app_id), known("Key", app.app_key), h("dt", {}, "Secret"), h("dd", {}, secret("secret", app.secret)),
      h("dt", {}, "Admin"), h("dd", {}, app.account),
      h("dt", {}, "Connect hook"), h("dd", {}, app.connect_hook || "none: every client of Gusher's own protocol is let in")),
    isSuper && h("p", { class: "hint" },
      "To replace a secret: add a pair, and move backends and clients over to it. The pair above is the app's own and stays good; those below can be removed."),
    fault.element, pairs)
  show()
  return element
}
