// Those whom the console shows: clients with real sockets, in a page of their own, and a backend that is told by webhook.

import { createHmac } from "node:crypto"
import { createServer } from "node:http"
import { soon } from "./report.mjs"

/**
 * Clients of an app, in an empty page: that of the console may speak to nobody but its node.
 *
 * @param {{host: string, port: number}} server the public listener
 * @param {{key: string, secret: string}} app
 */
export async function clients(context, server, app) {
  const page = await context.newPage()
  const heard = []
  let changed = () => {}
  await page.exposeFunction("heard", (client, frame) => { heard.push([client, frame]); changed() })
  const open = (client, path) => page.evaluate(([client, url]) => new Promise((resolve, reject) => {
    const socket = new WebSocket(url)
    socket.onmessage = ({ data }) => { window.heard(client, data); resolve() }
    // Of Gusher's own protocol nothing comes by itself.
    socket.onopen = () => url.includes("/ws/") && resolve()
    socket.onclose = ({ code }) => { window.heard(client, `closed ${code}`); reject(new Error(`closed with ${code}`)) }
    ;(window.sockets ??= {})[client] = socket
  }), [client, `ws://${server.host}:${server.port}${path}`])
  const send = (client, event, data, channel) =>
    page.evaluate(([client, frame]) => window.sockets[client].send(frame), [client, JSON.stringify({ event, data, channel })])
  const frame = (client, fits) => soon(`a frame for ${client} that fits ${fits}`, new Promise((resolve) => {
    const look = () => {
      const found = heard.find(([own, text]) => own === client && fits(text))
      if (found) resolve(found[1])
    }
    changed = look
    look()
  }))

  /** A client of Pusher Channels that is connected. */
  const pusher = async (client, key = app.key) => {
    await open(client, `/app/${key}?protocol=7`)
    const established = JSON.parse(await frame(client, (text) => text.includes("connection_established")))
    return JSON.parse(established.data).socket_id
  }
  /** It subscribes, with a signature where one is due. */
  const subscribe = async (client, socket_id, channel, member) => {
    const channel_data = member && JSON.stringify(member)
    const signed = [socket_id, channel, channel_data].filter(Boolean).join(":")
    const auth = `${app.key}:${createHmac("sha256", app.secret).update(signed).digest("hex")}`
    const isPublic = !/^(private|presence)-/.test(channel)
    await send(client, "pusher:subscribe", isPublic ? { channel } : { channel, auth, channel_data })
    await frame(client, (text) => text.includes("subscription_succeeded") && text.includes(channel))
  }
  /** It signs in as a user, and subscribes to what is for that one. */
  const signIn = async (client, socket_id, id) => {
    const user_data = JSON.stringify({ id })
    const auth = `${app.key}:${createHmac("sha256", app.secret).update(`${socket_id}::user::${user_data}`).digest("hex")}`
    await send(client, "pusher:signin", { auth, user_data })
    await frame(client, (text) => text.includes("signin_success"))
    await subscribe(client, socket_id, `#server-to-user-${id}`)
  }
  const close = (client) => page.evaluate((client) => window.sockets[client].close(), client)
  /** A client of Gusher's own protocol. */
  const tagged = (client, tag) => open(client, `/ws/${app.key}/${tag}`)
  return { pusher, subscribe, signIn, tagged, send, frame, close }
}

/** A backend that is told by webhook, and answers with the status it is set to. */
export async function backend() {
  const told = []
  const state = { status: 500 }
  let changed = () => {}
  const http = createServer(async (request, response) => {
    let body = ""
    for await (const chunk of request) body += chunk
    response.writeHead(state.status).end()
    told.push({ body, status: state.status })
    changed()
  })
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve))
  const next = (fits) => soon("a webhook", new Promise((resolve) => {
    const look = () => told.some(fits) && resolve()
    changed = look
    look()
  }))
  return { url: `http://127.0.0.1:${http.address().port}/told`, state, next }
}
