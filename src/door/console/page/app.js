// One app: its tabs, and what they share. The feed goes on while another tab is looked at.

import { get, of } from "./api.js"
import { channelsTab, usersTab } from "./channels.js"
import { h, put } from "./dom.js"
import { eventsTab } from "./events.js"
import { Feed } from "./feed.js"
import { liveTab } from "./live.js"
import { badge, button, copyButton, empty, pageHead, tabs } from "./parts.js"
import { settingsTab } from "./settings.js"
import { snippetsTab } from "./snippets.js"
import { webhooksTab } from "./webhooks.js"

const TABS = [
  ["live", "Live", liveTab],
  ["channels", "Channels", channelsTab],
  ["users", "Users", usersTab],
  ["events", "Send event", eventsTab],
  ["webhooks", "Webhooks", webhooksTab],
  ["snippets", "Snippets", snippetsTab],
  ["settings", "Settings", settingsTab],
]

/**
 * @param {Object} session who looks
 * @param {string} key of the app
 * @param {string|undefined} tab the first to be shown
 * @param {AbortSignal} signal the page is left
 */
export function appPage(session, key, tab, signal) {
  const page = h("div", { class: "page" }, pageHead(key), h("div", { class: "panel loading" }))
  get(of(key), signal).then(
    (app) => page.isConnected && put(page, shown(session, app, tab, signal)),
    (fault) => fault.name !== "AbortError" && put(page, pageHead(key), missing(session, fault)),
  )
  return { element: page, title: key, place: "apps" }
}

function missing(session, fault) {
  const isGone = fault.status === 404
  return empty(isGone ? "There is no such app" : "The app cannot be shown", isGone ? "It may have been removed, or its key is spelt otherwise." : fault.message,
    session.kind === "super" && isGone ? h("a", { class: "button", href: "#/apps" }, "All apps") : button("Try again", () => location.reload()))
}

function shown(session, app, tab, signal) {
  const isKnown = TABS.some(([id]) => id === tab)
  const state = h("span")
  const shared = {
    session, app, signal, feed: new Feed(app.app_key, signal),
    /** What the event creator holds, also while another tab is shown. */
    draft: { target: "channel", to: "", event: "", data: '{\n  "text": "hello"\n}', sent: [] },
    toSend: (target, to) => Object.assign(shared.draft, { target, to }),
    open: (id) => bar.choose(id),
    /** Takes over what was changed. */
    changed: (newer) => {
      Object.assign(app, newer)
      put(state, app.settings && !app.settings.enabled && badge("disabled", "bad"))
    },
  }
  let left = new AbortController()
  signal.addEventListener("abort", () => left.abort())
  const bar = tabs(`Of ${app.app_key}`, TABS, isKnown ? tab : "live", (id, panel) => {
    left.abort()
    left = new AbortController()
    const address = `#/apps/${encodeURIComponent(app.app_key)}/${id}`
    // Beside the first visit, "back" should leave the app and not go through all of its tabs.
    if (location.hash !== address) history.replaceState(null, "", address)
    const [, title, make] = TABS.find(([own]) => own === id)
    document.title = `${title} · ${app.app_key} · Gusher`
    put(panel, make(shared, left.signal))
  })
  shared.changed({})
  bar.start()
  return [pageHead(app.app_key, state, h("span", { class: "hint" }, `id ${app.app_id}`), copyButton("Copy key", () => app.app_key)), bar.list, bar.panel]
}
