// Signing in, looking around, and sending events.

import { ADMIN } from "./arrange.mjs"
import { clients } from "./clients.mjs"
import { check, equal } from "./report.mjs"

export const look = {
  async "without a session there is the sign-in, and nothing else"({ page, url, by, see }) {
    await page.goto(url)
    await see(by.button("Sign in"))
    equal(await page.getByRole("navigation").count(), 0)
  },

  async "a wrong password is told beside the form"({ signIn, account, page, see }) {
    await signIn(account, "wrong")
    await see(page.getByRole("alert").filter({ hasText: "is wrong" }))
  },

  async "by the keyboard alone one signs in and moves between tabs"({ page, account, password, see, by }) {
    await page.reload()
    await page.keyboard.type(account)
    await page.keyboard.press("Tab")
    await page.keyboard.type(password)
    await page.keyboard.press("Enter")
    await see(page.getByRole("heading", { name: "Overview" }))
    await page.keyboard.press("Tab")
    equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content")
    await by.link("Apps").focus()
    await page.keyboard.press("Enter")
    await see(page.getByRole("heading", { name: "Apps" }))
  },

  async "the overview moves"({ page, see, by }) {
    await by.link("Overview").click()
    await see(page.getByRole("img", { name: /^Connections, last five minutes: now/ }))
    await see(page.getByRole("img", { name: /^Messages per second, .* published [0-9]/ }))
    const shape = () => page.locator(".chart .line").first().getAttribute("d")
    const before = await shape()
    await page.waitForFunction((before) => document.querySelector(".chart .line").getAttribute("d") !== before, before)
    await see(page.getByRole("row", { name: /^Connections [0-9]/ }))
  },

  async "nothing jumps while pages fill"({ page, see, still, by }) {
    await page.reload()
    await see(page.getByRole("row", { name: /^Connections [0-9]/ }))
    await still("the overview")
    await by.link("Apps").click()
    await page.reload()
    await see(by.text(/^\d+ apps?$/).or(by.text("No apps yet")))
    await still("the apps")
  },

  async "an app is added, and a taken key is told in the dialog"({ page, by, see }) {
    const add = async () => {
      await by.link("Apps").click()
      await by.button(/^Add (an|the first) app$/).first().click()
      await by.label("Key").fill("shop")
      await by.label("Admin account").fill(ADMIN[0])
      await by.label("Admin password").fill(ADMIN[1])
      await by.button("Add app").click()
    }
    await add()
    await see(page.getByRole("heading", { name: "shop", level: 1 }))
    await add()
    await see(page.getByRole("alert").filter({ hasText: "There is an app with this key." }))
    await page.keyboard.press("Escape")
    equal(await page.getByRole("dialog").count(), 0)
  },

  async "an app is found by a part of its name"({ page, by, see }) {
    await by.label("Filter apps").fill("no such app")
    await see(by.text("No app fits"))
    await by.label("Filter apps").fill("sho")
    await by.link("shop").click()
    await see(by.tab("Live"))
  },

  async "the secret is shown on demand, and snippets hold the real keys"(world) {
    const { by, page, see, clipboard, server } = world
    await by.tab("Settings").click()
    const id = await page.locator(".known code").first().textContent()
    await by.button("Show secret").click()
    const secret = await page.locator("code.secret").textContent()
    check(/^[0-9a-f]{16,}$/.test(secret), "a secret", secret)
    world.app = { key: "shop", id, secret }
    world.clients = await clients(world.context, server, world.app)
    // A page behind another is not drawn.
    await page.bringToFront()
    await by.tab("Snippets").click()
    await by.label("Port").fill(String(server.port))
    for (const [tab, needs] of [
      ["Laravel and Echo", [`PUSHER_APP_ID=${id}`, "PUSHER_APP_KEY=shop", `PUSHER_APP_SECRET=${secret}`, `PUSHER_PORT=${server.port}`]],
      ["Browser", ['new Pusher("shop"', `wsPort: ${server.port}`]],
      ["Node", [`secret: "${secret}"`, `appId: "${id}"`]],
      ["Python", [`secret="${secret}"`, `port=${server.port}`]],
      ["curl", ["/api/push/shop", `-u '${ADMIN[0]}'`]],
    ]) {
      await by.tab(tab).click()
      await by.button("Copy").first().click()
      await see(page.getByRole("status").filter({ hasText: "Copied." }))
      const copied = await clipboard()
      check(needs.every((need) => copied.includes(need)), `${tab} with ${needs}`, copied)
      await page.locator("#status.shown").evaluate((status) => { status.textContent = "" })
    }
    await by.tab("Node").click()
    equal(await page.getByText(secret).count(), 0)
    await page.getByRole("switch", { name: "Show the secret" }).check()
    await see(page.getByText(secret))
  },

  async "the feed shows a connect, a subscribe, a publication, a client event and a refusal"(world) {
    const { by, page, see, clients, call, server, app } = world
    await by.tab("Live").click()
    await see(page.getByRole("status").filter({ hasText: "Live" }))
    const item = (kind, text) => page.getByRole("listitem").filter({ hasText: kind }).filter({ hasText: text })
    world.one = await clients.pusher("one")
    await see(item("connected", world.one))
    await clients.subscribe("one", world.one, "news")
    await see(item("subscribed", "news"))
    await clients.subscribe("one", world.one, "private-chat")
    await clients.send("one", "client-typing", { who: "one" }, "private-chat")
    await see(item("client event", "private-chat"))
    await call("/v1/apps/shop/channels/news/messages", { event: "headline", data: 1 })
    await see(item("published", "headline"))
    await call("/v1/apps/shop/channels/news/messages", { event: "<img src=x>", data: 1 })
    await see(item("published", "<img src=x>"))
    equal(await page.locator("main img").count(), 0)
    await fetch(`http://${server.host}:${server.port}/apps/${app.id}/channels?auth_key=shop&auth_signature=bad`)
    await see(item("refused", "api"))
    await clients.send("one", "pusher:subscribe", { channel: "private-closed", auth: "shop:bad" })
    await see(item("refused", "socket"))
    await clients.pusher("gone")
    await clients.close("gone")
    await see(item("disconnected", /./))
  },

  async "the feed is chosen by kind and text, held and cleared"({ by, page, see, gone, clients, one }) {
    const items = page.getByRole("list", { name: "Feed, newest first" }).getByRole("listitem")
    const subscribed = items.filter({ hasText: "subscribed" }).filter({ hasText: "news" })
    await page.getByRole("checkbox", { name: "Subscriptions" }).uncheck()
    await gone(subscribed)
    await page.getByRole("checkbox", { name: "Subscriptions" }).check()
    await by.label("Filter by text").fill("private-chat")
    await gone(subscribed)
    await see(items.filter({ hasText: "private-chat" }))
    await by.label("Filter by text").fill("")
    await by.button("Pause").click()
    await clients.subscribe("one", one, "while-paused")
    await see(page.getByText(/Paused, \d+ new/))
    equal(await items.filter({ hasText: "while-paused" }).count(), 0)
    await by.button("Go on").click()
    await see(items.filter({ hasText: "while-paused" }))
    await items.filter({ hasText: "while-paused" }).first().locator("summary").click()
    await see(page.getByText('"channel": "while-paused"'))
    await by.button("Clear").click()
    await see(by.text("Nothing has happened yet"))
  },

  async "an event reaches a channel, a user, those of a pattern and everyone"({ by, page, see, clients, one }) {
    await clients.tagged("alice", "alice")
    await clients.tagged("bob", "bob")
    await clients.signIn("one", one, "carol")
    await by.tab("Send event").click()
    const form = page.getByRole("form", { name: "Send an event" })
    const send = async (target, to, event, data) => {
      await page.getByRole("radio", { name: target, exact: true }).check({ force: true })
      if (to) await form.getByRole("combobox", { name: target, exact: true }).fill(to)
      if (event) await by.label("Event name").fill(event)
      await by.label("Data (JSON)").fill(data)
      await by.button("Send").click()
      await see(form.getByRole("status").filter({ hasText: "Sent" }))
    }
    await send("Channel", "news", "typed", '{"n":1}')
    await clients.frame("one", (text) => text.includes("typed") && text.includes("news"))
    await send("User", "carol", "for-carol", '{"n":2}')
    await clients.frame("one", (text) => text.includes("for-carol"))
    await send("Pattern", "^al", null, '"for those of al"')
    await clients.frame("alice", (text) => text === "for those of al")
    await send("Everyone", null, null, '{"n":4}')
    for (const client of ["alice", "bob"]) await clients.frame(client, (text) => text.includes('"n":4'))
    await by.button("Again: typed to channel news").click()
    equal(await by.label("Event name").inputValue(), "typed")
  },

  async "what is no JSON is told with its place, and not sent"({ by, page, see }) {
    await by.label("Data (JSON)").fill('{\n  "a": }')
    await see(by.text("Line 2, column 8: a value is expected."))
    await page.getByRole("radio", { name: "Channel", exact: true }).check({ force: true })
    await by.button("Send").click()
    equal(await page.getByRole("form").getByRole("status").textContent(), "")
    await by.label("Data (JSON)").fill('{"b":[1]}')
    await by.button("Format").click()
    equal(await by.label("Data (JSON)").inputValue(), '{\n  "b": [\n    1\n  ]\n}')
  },

  async "channels are listed and found, with the members of a presence channel"({ by, page, see, gone, clients, one }) {
    await clients.subscribe("one", one, "presence-room", { user_id: "carol", user_info: { name: "Carol" } })
    await by.tab("Channels").click()
    const row = (name) => page.getByRole("row").filter({ hasText: name })
    await see(row("presence-room"))
    await see(row("news"))
    await by.label("Channels that begin with").fill("presence-")
    await gone(row("news"))
    await by.button("Members of presence-room").click()
    await see(page.getByRole("dialog").getByRole("row").filter({ hasText: "carol" }).filter({ hasText: "Carol" }))
    await page.keyboard.press("Escape")
    await gone(page.getByRole("dialog"))
    equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Members of presence-room")
    await by.label("Channels that begin with").fill("none-such")
    await see(by.text("No such channel"))
  },

  async "users are listed, and lead to the event creator"({ by, page, see }) {
    await by.tab("Users").click()
    await see(page.getByRole("row").filter({ hasText: "bob" }))
    await by.label("Users that begin with").fill("ali")
    await by.button("Send an event to alice").click()
    await see(page.getByRole("form", { name: "Send an event" }))
    equal(await page.getByRole("form").locator("input[type=text]").first().inputValue(), "alice")
  },
}
