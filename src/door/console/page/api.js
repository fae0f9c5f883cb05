// What the node is asked. Every answer that is no success is a `Fault` with a sentence for people.

const BASE = new URL("api/", import.meta.url)

/** Says that there may be a session; the cookie that is one is hidden from us. */
const KNOWN = "gusher-signed-in"

let csrf = ""
let signedOut = () => {}

/** Why a call went wrong. */
export class Fault extends Error {
  /** @param {number} status 0 when there was no answer at all */
  constructor(message, status, retryAfter_seconds = 0) {
    super(message)
    this.status = status
    this.retryAfter_seconds = retryAfter_seconds
  }
}

/** Called when the node does not know us any more. */
export function onSignedOut(callback) {
  signedOut = callback
}

export const signIn = (account, password, app_key) => begin(call("POST", "session", { account, password, app_key }))

/** The session there is, or null. Whoever never signed in here is not asked for: nothing waits for the answer. */
export async function resume() {
  if (!localStorage.getItem(KNOWN)) return null
  try {
    return await begin(call("GET", "session"))
  } catch (fault) {
    if (fault.status !== 401) throw fault
    localStorage.removeItem(KNOWN)
    return null
  }
}

export async function signOut() {
  localStorage.removeItem(KNOWN)
  await call("DELETE", "session")
}

async function begin(coming) {
  const session = await coming
  csrf = session.csrf
  localStorage.setItem(KNOWN, "yes")
  return session
}

export const get = (path, signal) => call("GET", path, undefined, signal)
export const post = (path, body = {}) => call("POST", path, body)
export const patch = (path, body) => call("PATCH", path, body)
export const remove = (path) => call("DELETE", path)

/** The path of something of an app. */
export const of = (key, ...segments) => ["apps", key, ...segments].map(encodeURIComponent).join("/")

async function call(method, path, body, signal) {
  const response = await ask(method, path, body, signal)
  if (response.ok) return response.status === 204 ? null : response.json()
  throw await fault(response, path)
}

async function ask(method, path, body, signal) {
  const headers = { accept: "application/json" }
  if (method !== "GET") headers["x-csrf-token"] = csrf
  if (body !== undefined) headers["content-type"] = "application/json"
  try {
    const text = body === undefined ? undefined : JSON.stringify(body)
    return await fetch(new URL(path, BASE), { method, headers, body: text, signal, cache: "no-store" })
  } catch (error) {
    if (error.name === "AbortError") throw error
    throw new Fault("The node cannot be reached.", 0)
  }
}

async function fault(response, path) {
  const told = await response.json().catch(() => null)
  if (response.status === 401 && path !== "session") signedOut()
  const message = sentence(told?.error) || `The node answered with status ${response.status}.`
  return new Fault(message, response.status, Number(response.headers.get("retry-after")))
}

/** As a sentence begins and ends, but for a name that it begins with. */
function sentence(text) {
  if (!text) return null
  const begun = /^\S*[_.]/.test(text) ? text : text[0].toUpperCase() + text.slice(1)
  return /[.!?:]$/.test(begun) ? begun : `${begun}.`
}

/**
 * Reads server-sent events until the node ends them.
 *
 * @param {function} heard (event, data)
 * @param {function} opened called when the first may come
 */
export async function follow(path, signal, heard, opened) {
  const response = await ask("GET", path, undefined, signal)
  if (!response.ok) throw await fault(response, path)
  opened()
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ""
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    const blocks = (text + value).split(/\r?\n\r?\n/)
    text = blocks.pop()
    for (const block of blocks) tell(block, heard)
  }
}

function tell(block, heard) {
  const lines = block.split(/\r?\n/)
  const field = (name) =>
    lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).replace(/^ /, ""))
  const data = field("data").join("\n")
  const event = field("event")[0] ?? "message"
  if (data) heard(event, JSON.parse(data))
}
