// Settings, keys, webhooks, how it looks, who may not, and what goes wrong; the app is removed in the end.

import { ADMIN } from "./arrange.mjs"
import { backend } from "./clients.mjs"
import { check, equal } from "./report.mjs"

export const change = {
  async "settings of each type are changed, discarded, and refused where they are wrong"({ by, page, see }) {
    await by.tab("Settings").click()
    const number = by.label("Data of an event")
    await number.fill("0")
    await see(by.text(/A whole number from 1 to/))
    await by.button("Discard").click()
    equal(await number.inputValue(), "10240")
    await number.fill("2048")
    await page.getByRole("switch", { name: "Watchlists" }).check()
    await by.label("Allowed origins").fill("https://example.com\n*.example.org")
    await see(by.text("3 unsaved changes"))
    await by.button("Save changes").click()
    await see(page.getByRole("status").filter({ hasText: "Saved." }))
    await page.reload()
    await see(by.button("Discard").or(by.tab("Settings")))
    equal(await by.label("Data of an event").inputValue(), "2048")
    equal(await page.getByRole("switch", { name: "Watchlists" }).isChecked(), true)
    equal(await by.label("Allowed origins").inputValue(), "https://example.com\n*.example.org")
    await by.label("Allowed origins").fill("x".repeat(301))
    await by.button("Save changes").click()
    await see(page.getByRole("alert").filter({ hasText: "allowed_origins" }))
    await by.button("Discard").click()
    await by.label("Allowed origins").fill("")
    await by.button("Save changes").click()
    await see(page.getByRole("status").filter({ hasText: "Saved." }))
  },

  async "a key pair is added and removed"({ by, page, see, gone }) {
    await by.button("Add a key pair").click()
    const pairs = page.getByRole("table", { name: "Additional keys" })
    await see(pairs)
    const key = await pairs.getByRole("row").nth(1).locator("code").first().textContent()
    await by.button(`Show secret of ${key}`).click()
    await by.button(`Remove key pair ${key}`).click()
    await by.button("Remove key pair").click()
    await gone(pairs)
  },

  async "a webhook that fails is logged, given up, and tried again"(world) {
    const { by, page, see, clients, one } = world
    const told = await backend()
    await by.button("Add a webhook").click()
    await by.label("URL").fill(told.url)
    await page.getByRole("checkbox", { name: "channel_occupied" }).check()
    await by.label("Try again for").fill("0")
    await by.button("Save changes").click()
    await see(page.getByRole("status").filter({ hasText: "Saved." }))
    await clients.subscribe("one", one, "first-told")
    await told.next(({ body }) => body.includes("first-told"))
    await by.tab("Webhooks").click()
    const log = page.getByRole("table", { name: "Webhook log" })
    await see(log.getByRole("row").filter({ hasText: "given up" }).filter({ hasText: "status 500" }))
    told.state.status = 200
    await by.button(`Retry channel_occupied to ${told.url}`).click()
    await told.next(({ body, status }) => body.includes("first-told") && status === 200)
    await see(log.getByRole("row").filter({ hasText: "delivered" }))
    await log.locator("summary").first().click()
    await see(log.getByText('"channel": "first-told"'))

    told.state.status = 500
    await by.tab("Settings").click()
    await by.label("Try again for").fill("300")
    await by.button("Save changes").click()
    await see(page.getByRole("status").filter({ hasText: "Saved." }))
    await clients.subscribe("one", one, "then-told")
    await told.next(({ body }) => body.includes("then-told"))
    await by.tab("Webhooks").click()
    told.state.status = 200
    await by.button(`Try now what waits for ${told.url}`).click()
    await told.next(({ body, status }) => body.includes("then-told") && status === 200)
  },

  async "tabs are moved between with arrows"({ by, page, see }) {
    await by.tab("Webhooks").focus()
    await page.keyboard.press("ArrowRight")
    equal(await by.tab("Snippets").getAttribute("aria-selected"), "true")
    await page.keyboard.press("Home")
    equal(await by.tab("Live").getAttribute("aria-selected"), "true")
    await see(by.label("Filter by text"))
  },

  async "light and dark are chosen, and stay"({ page }) {
    const theme = page.getByRole("button", { name: /^Colours/ })
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    await theme.click()
    const light = await ground()
    await theme.click()
    const dark = await ground()
    check(light !== dark, "two colours", [light, dark])
    await page.reload()
    equal(await ground(), dark)
    await theme.click()
  },

  async "on a phone nothing is wider than the screen"({ page, by, see, fits }) {
    await page.setViewportSize({ width: 375, height: 740 })
    for (const tab of ["Live", "Channels", "Users", "Send event", "Webhooks", "Snippets", "Settings"]) {
      await by.tab(tab).click()
      await fits(tab)
    }
    for (const name of ["Overview", "Apps"]) {
      await by.link(name).click()
      await see(page.getByRole("heading", { name, level: 1 }))
      await fits(name)
    }
    await page.setViewportSize({ width: 1280, height: 860 })
  },

  async "the admin of an app sees this app alone"({ signIn, signOut, page, by, see, url }) {
    await signOut()
    await signIn(...ADMIN, "shop")
    await see(page.getByRole("heading", { name: "shop", level: 1 }))
    equal(await page.getByRole("link", { name: "Overview" }).count(), 0)
    await page.goto(`${url}#/overview`)
    await see(page.getByRole("heading", { name: "shop", level: 1 }))
    await by.tab("Settings").click()
    await see(by.button("Show secret"))
    equal(await by.button("Add a key pair").count(), 0)
    await by.tab("Channels").click()
    await see(page.getByRole("row").filter({ hasText: "news" }))
    await signOut()
  },

  async "an app is removed by who types its key"({ signIn, account, password, page, by, see, gone, clients }) {
    await signIn(account, password)
    await by.link("Apps").click()
    await by.link("shop").click()
    await by.tab("Settings").click()
    await by.button("Remove app").click()
    const dialog = page.getByRole("dialog")
    const go = dialog.getByRole("button", { name: "Remove app" })
    equal(await go.isDisabled(), true)
    await dialog.getByLabel("Type shop to confirm").fill("sho")
    equal(await go.isDisabled(), true)
    await dialog.getByLabel("Type shop to confirm").fill("shop")
    await go.click()
    await clients.frame("alice", (text) => text === "closed 4001")
    await see(page.getByRole("heading", { name: "Apps", level: 1 }))
    equal(await by.link("shop").count(), 0)
  },

  async "a node that does not answer is told of, and asked again"({ page, context, see, by }) {
    await by.link("Overview").click()
    const told = page.getByRole("alert").filter({ hasText: "The node cannot be reached." })
    await context.setOffline(true)
    await see(told)
    await context.setOffline(false)
    await told.waitFor({ state: "hidden" })
  },

  async "who is signed out elsewhere signs in again, and is where one was"({ page, context, signIn, account, password, see, by }) {
    await by.link("Apps").click()
    await context.clearCookies()
    await see(page.getByRole("status").filter({ hasText: "Your session has ended." }))
    await signIn(account, password)
    await see(page.getByRole("heading", { name: "Apps", level: 1 }))
  },

  async "who signs out has to sign in again"({ signOut, page, url, by, see }) {
    await signOut()
    await page.goto(url)
    await see(by.button("Sign in"))
  },

  async "too many wrong passwords are refused, with the time to wait"({ signIn, account, page, see }) {
    const wrong = page.getByRole("alert").filter({ hasText: "is wrong" })
    const many = page.getByRole("alert").filter({ hasText: /Too many attempts. Try again in \d+ s./ })
    for (let attempt = 0; attempt < 20 && !(await many.count()); attempt += 1) {
      await signIn(account, `wrong ${attempt}`)
      await see(page.locator("form [aria-busy=true]").or(wrong).or(many))
      await page.locator("form [aria-busy=true]").waitFor({ state: "detached" })
    }
    await see(many)
  },

  async "no error, no violation of the policy, no other origin"({ clean }) {
    clean()
  },
}
