// The pictures of docs/console.md: a node with something to do, looked at for as long as a chart is wide.

import { backend, clients } from "./clients.mjs"

const SECONDS = Number(process.env.CONSOLE_PICTURES_SECONDS ?? 300)

const CHANNELS = ["news", "prices", "private-orders", "presence-lobby", "presence-support", "cache-scores", "private-chat-7"]

const PEOPLE = ["Amina", "Boris", "Chiara", "Daniel", "Elif", "Femi", "Greta", "Hiro", "Ines", "Jonas", "Kavya", "Liam"]

/** Other apps, how many sockets they have, and of whom they are. */
const OTHERS = [["auctions", 9, "auctions-backend"], ["scores", 17, "sports"], ["shop", 5, "shop-admin"]]

/** Sizes: a page, one that is longer, a phone. */
const [WIDE, TALL, PHONE] = [[1080, 640], [1080, 780], [375, 700]]

/** Name, address behind the page's (without one, nobody signs in), colours, size, and what is done on the page. */
const PICTURES = [
  ["sign-in", null, "light", WIDE],
  ["overview", "#/overview", "dark", [1280, 700]],
  ["apps", "#/apps", "light", WIDE],
  ["add-app", "#/apps", "light", WIDE, addApp],
  ["live", "#/apps/chat/live", "light", [1000, 640]],
  ["channels", "#/apps/chat/channels", "light", WIDE],
  ["members", "#/apps/chat/channels", "light", TALL, seeMembers],
  ["users", "#/apps/chat/users", "light", WIDE],
  ["send-event", "#/apps/chat/events", "light", TALL, sendEvents],
  ["webhooks", "#/apps/chat/webhooks", "light", WIDE],
  ["snippets", "#/apps/chat/snippets", "light", TALL],
  ["settings", "#/apps/chat/settings", "light", TALL],
  ["phone", "#/apps/chat/channels", "dark", PHONE],
]

/** @param {string} folder where they go */
export async function pictures(browser, world, folder) {
  const api = caller(world)
  const app = await register(api, "chat", "chat-backend")
  const crowd = await populate(world, { key: "chat", secret: app.app_secret })
  for (const [key, sockets, account] of OTHERS) await accompany(world, api, key, sockets, account)
  await tell(api)
  const pages = await Promise.all(PICTURES.map((picture) => open(browser, world, picture)))
  const names = PICTURES.map(([name]) => name)
  const take = async (...wanted) => {
    for (const name of wanted) await shoot(pages[names.indexOf(name)], PICTURES[names.indexOf(name)].at(4), `${folder}/${name}.png`)
  }
  // Those of what passes are taken while it does.
  await publish(api, crowd)
  await take("overview")
  await mingle(crowd, api, "late", "later")
  await take("live", ...names.filter((name) => !["overview", "live"].includes(name)))
}

async function shoot(page, act, path) {
  await act?.(page)
  await page.mouse.move(0, 0)
  await page.evaluate(() => Promise.all(document.getAnimations().map(({ finished }) => finished)))
  await page.screenshot({ path })
}

/** Calls of the private API, as the super admin: a form, or JSON. The steps before have failed to sign in, so it may have to wait. */
function caller({ url, account, password }) {
  const authorization = `Basic ${btoa(`${account}:${password}`)}`
  const api = async (method, path, body) => {
    const isForm = body instanceof URLSearchParams
    const headers = isForm ? { authorization } : { authorization, "content-type": "application/json" }
    const response = await fetch(new URL(path, url), { method, headers, body: isForm ? body : JSON.stringify(body) })
    if (response.status !== 429) return response.json().catch(() => null)
    await rest(Number(response.headers.get("retry-after")) * 1_000)
    return api(method, path, body)
  }
  return api
}

const register = (api, app_key, auth_account) =>
  api("POST", "/api/register", new URLSearchParams({ app_key, auth_account, auth_password: "secret" }))

async function populate({ context, server }, app) {
  const crowd = await clients(context, server, app)
  for (let number = 0; number < 42; number += 1) {
    const socket = await crowd.pusher(`p${number}`)
    const name = PEOPLE[number % PEOPLE.length]
    for (const channel of CHANNELS.slice(0, 1 + number % CHANNELS.length)) {
      const member = { user_id: name.toLowerCase(), user_info: { name, role: number % 5 ? "guest" : "host" } }
      await crowd.subscribe(`p${number}`, socket, channel, channel.startsWith("presence-") ? member : undefined)
    }
  }
  for (const [number, name] of PEOPLE.entries()) {
    for (let device = 0; device < 1 + number % 3; device += 1) await crowd.tagged(`g${number}-${device}`, name.toLowerCase())
  }
  return crowd
}

/** Another app with sockets of its own. */
async function accompany({ context, server }, api, key, sockets, account) {
  const crowd = await clients(context, server, { key, secret: (await register(api, key, account)).app_secret })
  for (let number = 0; number < sockets; number += 1) {
    await crowd.subscribe(`${number}`, await crowd.pusher(`${number}`), `room-${number % 4}`)
    if (number % 3 === 0) await crowd.tagged(`g${number}`, `visitor-${number}`)
  }
}

/** Has two backends told: one that takes it, and one that fails. */
async function tell(api) {
  const [well, failing] = [await backend(), await backend()]
  well.state.status = 200
  await api("PATCH", "/api/chat/settings", {
    webhooks: [{ url: well.url }, { url: failing.url, events: ["channel_occupied", "channel_vacated"] }],
    webhook_grace: 1,
    webhook_retry_span: 20,
  })
}

async function open(browser, { url, account, password }, [, address, colorScheme, [width, height]]) {
  const context = await browser.newContext({ colorScheme, viewport: { width, height } })
  const page = await context.newPage()
  await page.goto(url + (address ?? ""))
  await page.getByLabel("Account").fill(account)
  await page.getByLabel("Password").fill(password)
  if (!address) return page
  await page.getByRole("button", { name: "Sign in" }).click()
  await page.getByRole("heading", { level: 1 }).and(page.locator(":not(.gate h1)")).waitFor()
  return page
}

/** Publishes, now more and now less, while now and then somebody comes and goes. */
async function publish(api, crowd) {
  const until = Date.now() + SECONDS * 1_000
  for (let turn = 0; Date.now() < until; turn += 1) {
    const channel = CHANNELS[turn % CHANNELS.length]
    await api("POST", `/v1/apps/chat/channels/${channel}/messages`, { event: "headline", data: { text: "hello", turn } })
    if (turn % 9 === 0) await api("POST", "/api/push/chat", new URLSearchParams({ content: "hello" }))
    if (turn % 97 === 0) await api("POST", "/api/push/chat", new URLSearchParams({ content: "hello", user_tag: "(" }))
    if (turn % 200 === 50) await mingle(crowd, api, `passer-${turn}`)
    await rest(60 + 50 * Math.sin(turn / 40))
  }
}

/** A little of everything, so that the feed and the log of webhooks have something to show. */
async function mingle(crowd, api, ...visitors) {
  for (const who of visitors) {
    const socket = await crowd.pusher(who)
    await crowd.subscribe(who, socket, `order-${1_000 + visited}`)
    await crowd.subscribe(who, socket, "private-orders")
    await crowd.send(who, "client-typing", { who }, "private-orders")
    await api("POST", "/v1/apps/chat/channels/news/messages", { event: "headline", data: { who } })
    await crowd.send(who, "pusher:subscribe", { channel: "private-vault", auth: "chat:wrong" })
    await crowd.close(who)
    visited += 1
  }
}

/** How many have come and gone, each of whom has an order of its own. */
let visited = 0

async function addApp(page) {
  await page.getByRole("button", { name: "Add an app" }).click()
  await page.getByLabel("Key", { exact: true }).fill("tickets")
  await page.getByLabel("Admin account").fill("tickets-backend")
  await page.getByLabel("Admin password").fill("a password of its own")
}

async function seeMembers(page) {
  await page.getByRole("button", { name: "Members of presence-lobby" }).click()
  await page.getByRole("dialog").getByRole("row").nth(1).waitFor()
}

async function sendEvents(page) {
  for (const [channel, event, data] of [["prices", "changed", { symbol: "GSH", price: 42.5 }], ["news", "headline", { title: "Doors open at eight", by: "Amina" }]]) {
    await page.getByRole("combobox", { name: "Channel", exact: true }).fill(channel)
    await page.getByLabel("Event name").fill(event)
    await page.getByLabel("Data (JSON)").fill(JSON.stringify(data, null, 2))
    await page.getByRole("button", { name: "Send", exact: true }).click()
    await page.getByRole("button", { name: `Again: ${event} to channel ${channel}` }).waitFor()
  }
}

const rest = (time_ms) => new Promise((resolve) => setTimeout(resolve, time_ms))
