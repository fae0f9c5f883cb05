// What the steps are given: a browser at the console, and an eye on everything that must not happen in it.

import { check, equal } from "./report.mjs"

/** Where the node is and who may sign in, as `tests/console_browser.rs` or somebody by hand tells. */
const told = {
  url: process.env.CONSOLE_URL ?? "http://127.0.0.1:8002/console",
  account: process.env.CONSOLE_ACCOUNT ?? "account",
  password: process.env.CONSOLE_PASSWORD ?? "password",
  server: { host: process.env.PUSHER_HOST, port: Number(process.env.PUSHER_PORT) },
}

/** The admin of the app that the steps add: account and password. */
export const ADMIN = ["app-admin", "app-secret"]

export async function arrange(browser) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } })
  await context.grantPermissions(["clipboard-read", "clipboard-write"])
  const page = await context.newPage()
  await page.addInitScript(countJumps)
  page.setDefaultTimeout(10_000)
  const complaints = watched(page, new URL(told.url).origin)

  const by = {
    button: (name) => page.getByRole("button", { name, exact: true }),
    tab: (name) => page.getByRole("tab", { name, exact: true }),
    label: (name) => page.getByLabel(name, { exact: true }),
    link: (name) => page.getByRole("link", { name, exact: true }),
    text: (text) => page.getByText(text),
  }
  const signIn = async (account, password, app = "") => {
    await by.label("Account").fill(account)
    await by.label("Password").fill(password)
    await by.label("App key").fill(app)
    await by.button("Sign in").click()
  }
  const signOut = async () => {
    await by.button("Sign out").click()
    await by.button("Sign in").waitFor()
  }
  /** Waits until it is there, and can be seen. */
  const see = (locator) => locator.first().waitFor({ state: "visible" })
  const gone = (locator) => locator.first().waitFor({ state: "detached" })
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText())
  /** Nothing is wider than the window. */
  const fits = async (what) => {
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    equal([what, over], [what, 0])
  }
  /** Little has moved by itself since the page was loaded; 0.1 is what is called good (web.dev/cls). */
  const still = async (what) => {
    const jumps = await page.evaluate(() => window.jumps)
    check(jumps < 0.1, `${what} without jumps`, jumps)
  }
  /** A call of the private API, as the super admin. */
  const call = (path, body) => fetch(new URL(path, told.url), {
    method: "POST",
    body: JSON.stringify(body),
    headers: { authorization: `Basic ${btoa(`${told.account}:${told.password}`)}`, "content-type": "application/json" },
  })
  const clean = () => check(complaints.length === 0, "no errors, no violations, no other origin", complaints)
  return { ...told, context, page, by, signIn, signOut, see, gone, clipboard, fits, still, call, clean, app: null, clients: null }
}

/** Runs in the page, before anything else of it. */
function countJumps() {
  window.jumps = 0
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) window.jumps += value
  }).observe({ type: "layout-shift", buffered: true })
}

/** What a page must not do: fail, break its policy, or ask anybody but its node. */
function watched(page, origin) {
  const complaints = []
  // A browser reports each refusal as an error; that a page is refused, or alone, is what some steps are about.
  const isRefusal = (text) => /^Failed to load resource: (.* status of (400|401|404|409|429)|net::ERR_INTERNET_DISCONNECTED)/.test(text)
  page.on("console", (message) => message.type() !== "log" && !isRefusal(message.text()) && complaints.push(message.text()))
  page.on("pageerror", (error) => complaints.push(error.stack))
  page.on("request", (request) => {
    const url = new URL(request.url())
    if (url.origin !== origin && url.protocol !== "data:") complaints.push(`asked ${url}`)
  })
  return complaints
}
