// The application behind the clients: authorizes channels, signs users in, and publishes with npm's `pusher`.

import { createServer } from "node:http"
import { readFile } from "node:fs/promises"
import Backend from "pusher"

/** Where the server is and which app to use, as tests/guests/run tells. */
export const server = {
  host: process.env.PUSHER_HOST,
  port: Number(process.env.PUSHER_PORT),
  id: process.env.PUSHER_APP_ID,
  key: process.env.PUSHER_APP_KEY,
  secret: process.env.PUSHER_APP_SECRET,
  isRestarted: process.env.GUEST_RESTART === "1",
}

/** The server library, set up for the app. */
export function library(changes = {}) {
  return new Backend({
    appId: server.id,
    key: server.key,
    secret: server.secret,
    host: server.host,
    port: server.port,
    useTLS: false,
    encryptionMasterKeyBase64: Buffer.from("0123456789abcdef0123456789abcdef").toString("base64"),
    ...changes,
  })
}

/** What a step may ask of the application. Arguments and results are plain data, so that a browser may ask, too. */
export function calls(pusher) {
  return {
    trigger: async (...event) => (await pusher.trigger(...event)).json(),
    sendToUser: async (...event) => (await pusher.sendToUser(...event)).json(),
    terminate: async (user) => (await pusher.terminateUserConnections(user)).json(),
    // What a plain request is answered; nothing of a library in it.
    status: async (method, path) =>
      (await fetch(`http://${server.host}:${server.port}${path}`, { method })).status,
  }
}

/**
 * Serves the endpoints that clients are given: /auth and /user. The bearer token is the user's name and id.
 *
 * @param {Object<string, string>} files path -> file, for a browser
 * @returns {Promise<{url: string}>} served until the process ends
 */
export async function serve(pusher, files = {}) {
  const http = createServer(async (request, response) => {
    try {
      const [type, body] = await answer(pusher, files, request)
      response.writeHead(200, { "content-type": type }).end(body)
    } catch (error) {
      response.writeHead(500).end(String(error))
    }
  })
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve))
  return { url: `http://127.0.0.1:${http.address().port}` }
}

async function answer(pusher, files, request) {
  if (request.method === "GET") return file(files, request.url)
  const form = new URLSearchParams(await text(request))
  const who = request.headers.authorization.replace("Bearer ", "")
  const says = request.url === "/user" ? user(pusher, form, who) : channel(pusher, form, who)
  return ["application/json", JSON.stringify(says)]
}

/** Signs for a channel; the user `mallory` gets a signature that is meant for another one. */
function channel(pusher, form, who) {
  const name = form.get("channel_name")
  const member = name.startsWith("presence-") ? { user_id: who, user_info: { name: who } } : undefined
  return pusher.authorizeChannel(form.get("socket_id"), who === "mallory" ? "private-other" : name, member)
}

function user(pusher, form, who) {
  const watchlist = form.get("watchlist")?.split(",")
  return pusher.authenticateUser(form.get("socket_id"), { id: who, user_info: { name: who }, watchlist })
}

async function file(files, path) {
  if (path === "/") return ["text/html", "<!doctype html><script src=/pusher.js></script>"]
  return ["text/javascript", files[path] ? await readFile(files[path]) : ""]
}

/** The whole body of a request. */
export async function text(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}
