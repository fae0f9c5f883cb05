// The pictures of docs/console.md: a node with something to do, looked at for as long as a chart is wide.

import { clients } from "./clients.mjs"

const SECONDS = Number(process.env.CONSOLE_PICTURES_SECONDS ?? 300)

const CHANNELS = ["news", "prices", "private-orders", "presence-lobby"]

/** Name, address behind the page's, colours, width and height. */
const PICTURES = [
  ["overview", "#/overview", "dark", 1280, 800],
  ["live", "#/apps/chat/live", "light", 1280, 800],
  ["phone", "#/apps/chat/channels", "dark", 375, 700],
]

/** @param {string} folder where they go */
export async function pictures(browser, world, folder) {
  const api = (path, init = {}) => fetch(new URL(path, world.url), {
    ...init, headers: { authorization: `Basic ${btoa(`${world.account}:${world.password}`)}`, ...init.headers },
  })
  const form = new URLSearchParams({ app_key: "chat", auth_account: "backend", auth_password: "secret" })
  const app = await (await api("/api/register", { method: "POST", body: form })).json()
  const crowd = await populate(world, { key: "chat", secret: app.app_secret })
  const pages = await Promise.all(PICTURES.map((picture) => open(browser, world, picture)))
  await publish(api)
  await mingle(crowd, api)
  for (const [index, [name]] of PICTURES.entries()) await pages[index].screenshot({ path: `${folder}/${name}.png` })
}

async function populate({ context, server }, app) {
  const crowd = await clients(context, server, app)
  for (let number = 0; number < 40; number += 1) {
    const socket = await crowd.pusher(`p${number}`)
    for (const channel of CHANNELS.slice(0, 1 + number % 4)) {
      await crowd.subscribe(`p${number}`, socket, channel, channel.startsWith("presence-") ? { user_id: `user-${number}` } : undefined)
    }
  }
  for (let number = 0; number < 12; number += 1) await crowd.tagged(`g${number}`, `user-${number}`)
  return crowd
}

async function open(browser, { url, account, password }, [, address, colorScheme, width, height]) {
  const context = await browser.newContext({ colorScheme, viewport: { width, height } })
  const page = await context.newPage()
  await page.goto(url + address)
  await page.getByLabel("Account").fill(account)
  await page.getByLabel("Password").fill(password)
  await page.getByRole("button", { name: "Sign in" }).click()
  await page.getByRole("heading", { level: 1 }).and(page.locator(":not(.gate h1)")).waitFor()
  return page
}

/** Publishes, now more and now less. */
async function publish(api) {
  const until = Date.now() + SECONDS * 1_000
  for (let turn = 0; Date.now() < until; turn += 1) {
    const channel = CHANNELS[turn % CHANNELS.length]
    const body = JSON.stringify({ event: "headline", data: { text: "hello", turn } })
    await api(`/v1/apps/chat/channels/${channel}/messages`, { method: "POST", body, headers: { "content-type": "application/json" } })
    if (turn % 9 === 0) await api("/api/push/chat", { method: "POST", body: new URLSearchParams({ content: "hello" }) })
    if (turn % 97 === 0) await api("/api/push/chat", { method: "POST", body: new URLSearchParams({ content: "hello", user_tag: "(" }) })
    await new Promise((resolve) => setTimeout(resolve, 60 + 50 * Math.sin(turn / 40)))
  }
}

/** A little of everything, so that the feed has something to show. */
async function mingle(crowd, api) {
  for (const who of ["late", "later"]) {
    const socket = await crowd.pusher(who)
    await crowd.subscribe(who, socket, "private-orders")
    await crowd.send(who, "client-typing", { who }, "private-orders")
    await api("/v1/apps/chat/channels/news/messages", { method: "POST", body: JSON.stringify({ event: "headline", data: { who } }), headers: { "content-type": "application/json" } })
    await crowd.send(who, "pusher:subscribe", { channel: "private-vault", auth: "chat:wrong" })
    await crowd.close(who)
  }
  await new Promise((resolve) => setTimeout(resolve, 1_000))
}
