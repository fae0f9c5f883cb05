// The session, the frame around all pages, and which page an address shows. Addresses are behind the `#`, so the node
// serves one page and sees none of them.

import { onSignedOut, resume, signOut } from "./api.js"
import { appPage } from "./app.js"
import { appsPage } from "./apps.js"
import { h, put } from "./dom.js"
import { logo } from "./logo.js"
import { overviewPage, watchNode } from "./overview.js"
import { button, empty } from "./parts.js"
import { signInPage } from "./signin.js"

const top = document.getElementById("top")
const main = document.getElementById("main")

let session = null
/** Ends the timers and streams of the page that is shown. */
let shown = new AbortController()
/** Ends what goes on as long as somebody is signed in. */
let signedIn = new AbortController()

start()

async function start() {
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault()
    main.focus()
  })
  addEventListener("hashchange", () => navigate(true))
  onSignedOut(() => session && leave("Your session has ended. Sign in again to go on."))
  try {
    enter(await resume())
  } catch (error) {
    put(main, empty("The node does not answer", error.message, button("Try again", () => location.reload())))
  }
}

function enter(found) {
  session = found
  signedIn = new AbortController()
  if (session?.kind === "super") watchNode(signedIn.signal)
  frame()
  navigate(false)
}

function leave(reason) {
  session = null
  signedIn.abort()
  frame()
  show(signInPage(reason, enter), true)
}

/** Shows what the address says, to those who may see it. */
function navigate(isMoved) {
  if (!session) return show(signInPage(null, enter), false)
  const [place, key, tab] = location.hash.replace(/^#\//, "").split("/").map(decoded)
  const signal = renew()
  const isSuper = session.kind === "super"
  if (!isSuper) return show(appPage(session, session.app_key, place === "apps" ? tab : undefined, signal), isMoved)
  if (place === "apps" && key) return show(appPage(session, key, tab, signal), isMoved)
  if (place === "apps") return show(appsPage(signal), isMoved)
  show(overviewPage(signal), isMoved)
}

function decoded(segment) {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}

function renew() {
  shown.abort()
  shown = new AbortController()
  return shown.signal
}

function show(page, isMoved) {
  if (!session) renew()
  put(main, page.element)
  document.title = `${page.title} · Gusher`
  for (const link of top.querySelectorAll("nav a")) {
    const isHere = link.dataset.place === page.place
    if (isHere) link.setAttribute("aria-current", "page")
    else link.removeAttribute("aria-current")
  }
  // Whoever cannot see the page change hears its heading.
  if (isMoved) main.querySelector("h1")?.focus()
  page.focus?.()
  scrollTo(0, 0)
}

function frame() {
  top.hidden = !session
  if (!session) return put(top)
  const links = session.kind === "super"
    ? [["#/overview", "Overview", "overview"], ["#/apps", "Apps", "apps"]]
    : [[`#/apps/${encodeURIComponent(session.app_key)}`, session.app_key, "apps"]]
  put(top,
    h("a", { class: "brand", href: "#/", "aria-label": "Gusher, start" }, logo(), h("span", {}, "Gusher")),
    h("nav", { "aria-label": "Pages" }, links.map(([href, text, place]) => h("a", { href, "data-place": place }, text))),
    h("div", { class: "who" },
      h("span", { class: "account", title: session.kind === "super" ? "Super admin" : "Admin of this app" }, session.account),
      h("span", { class: "version" }, session.version),
      themeButton(),
      button("Sign out", out, { classes: "small" })))
}

async function out() {
  // Whatever becomes of the call, nothing of the session stays in the page.
  await signOut().catch(() => {})
  location.hash = "#/"
  leave("You have signed out.")
}

function themeButton() {
  const name = () => document.documentElement.dataset.theme ?? "system"
  const label = () => `Colours: ${name()}`
  const element = h("button", {
    type: "button", class: "icon theme", "aria-label": label(), title: label(), onclick: () => {
      const next = { system: "light", light: "dark", dark: "system" }[name()]
      if (next === "system") delete document.documentElement.dataset.theme
      else document.documentElement.dataset.theme = next
      localStorage.setItem("gusher-theme", next)
      element.setAttribute("aria-label", label())
      element.title = label()
    },
  }, "◐")
  return element
}
