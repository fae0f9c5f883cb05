// What points clients and backends at this app, ready to be copied. A secret is shown only when asked for; what is copied
// holds it.

import { h, put } from "./dom.js"
import { copyButton, field, mask, tabs, toggle } from "./parts.js"

const PLACE = "gusher-place"

const SNIPPETS = [
  ["echo", "Laravel and Echo", laravel],
  ["browser", "Browser", browser],
  ["node", "Node", node],
  ["python", "Python", python],
  ["curl", "curl", curl],
]

export function snippetsTab({ app, session }) {
  const place = found(session)
  let chosen = SNIPPETS[0][0]
  let panel
  let isShown = false

  const input = (type, value, take) => h("input", { type, value, autocomplete: "off", spellcheck: "false", oninput: ({ target }) => {
    take(target.value.trim())
    localStorage.setItem(PLACE, JSON.stringify(place))
    draw()
  } })
  const host = field("Host", input("text", place.host, (value) => { place.host = value }), { hint: "As clients see it, perhaps a proxy's." })
  const port = field("Port", input("number", place.port, (value) => { place.port = Number(value) }))
  const tls = toggle("TLS", place.tls, (value) => {
    place.tls = value
    localStorage.setItem(PLACE, JSON.stringify(place))
    draw()
  })
  const reveal = toggle("Show the secret", false, (value) => { isShown = value; draw() }, { hint: "Copies hold it in any case." })
  const bar = tabs("Languages", SNIPPETS, chosen, (id, inside) => {
    chosen = id
    panel = inside
    draw()
  })

  function draw() {
    const make = SNIPPETS.find(([id]) => id === chosen)[2]
    const blocks = (secret) => make({ ...app, secret }, place, session)
    const shown = blocks(isShown ? app.secret : mask())
    put(panel, shown.map(([title, text, remark], index) => h("section", { class: "snippet", "aria-label": title },
      h("div", { class: "card-head" }, h("h3", {}, title), copyButton("Copy", () => blocks(app.secret)[index][1])),
      h("pre", { tabIndex: 0 }, h("code", {}, text)), remark && h("p", { class: "hint" }, remark))))
  }

  bar.start()
  return [h("div", { class: "card place" }, host.element, port.element, tls.element, reveal.element), bar.list, bar.panel]
}

/** Where clients reach the node: what was said here before, else this page's host and the node's own port. */
function found({ hosts }) {
  const own = { host: location.hostname.replace(/^\[|\]$/g, ""), port: Number(/(\d+)$/.exec(hosts.public)?.[1] ?? 443), tls: hosts.tls }
  try {
    return { ...own, ...JSON.parse(localStorage.getItem(PLACE) ?? "{}") }
  } catch {
    return own
  }
}

/** A text as JavaScript and Python write it. */
const literal = (text) => JSON.stringify(String(text))

/** A value as a .env file has it. */
const value = (text) => /^[\w.:[\]-]+$/.test(text) || text.startsWith("•") ? text : `"${text.replace(/["\\$]/g, "\\$&")}"`

/** A word as a shell takes it. */
const word = (text) => `'${text.replace(/'/g, "'\\''")}'`

const scheme = ({ tls }) => (tls ? "https" : "http")

const netloc = ({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`

function laravel({ app_id, app_key, secret }, place) {
  const own = [["APP_ID", app_id], ["APP_KEY", app_key], ["APP_SECRET", secret], ["HOST", place.host], ["PORT", String(place.port)], ["SCHEME", scheme(place)]]
  const env = ["BROADCAST_CONNECTION=pusher", ...own.map(([name, text]) => `PUSHER_${name}=${value(text)}`), "PUSHER_APP_CLUSTER=mt1", "",
    ...["APP_KEY", "HOST", "PORT", "SCHEME", "APP_CLUSTER"].map((name) => `VITE_PUSHER_${name}="\${PUSHER_${name}}"`)]
  return [
    [".env", env.join("\n"), "With composer require pusher/pusher-php-server. The secret stays out of what a browser gets."],
    ["resources/js/echo.js", `import Echo from "laravel-echo"
import Pusher from "pusher-js"

window.Pusher = Pusher
window.Echo = new Echo({
  broadcaster: "pusher",
  key: import.meta.env.VITE_PUSHER_APP_KEY,
  cluster: import.meta.env.VITE_PUSHER_APP_CLUSTER,
  wsHost: import.meta.env.VITE_PUSHER_HOST,
  wsPort: import.meta.env.VITE_PUSHER_PORT,
  wssPort: import.meta.env.VITE_PUSHER_PORT,
  forceTLS: import.meta.env.VITE_PUSHER_SCHEME === "https",
  enabledTransports: ["ws", "wss"],
})

window.Echo.channel("news").listen(".headline", (data) => console.log(data))`, "With npm install laravel-echo pusher-js."],
  ]
}

function browser({ app_key }, place) {
  return [["Subscribe with pusher-js", `import Pusher from "pusher-js"

const pusher = new Pusher(${literal(app_key)}, {
  cluster: "x",
  wsHost: ${literal(place.host)},
  wsPort: ${place.port},
  wssPort: ${place.port},
  forceTLS: ${place.tls},
  enabledTransports: ["ws", "wss"],
})

pusher.subscribe("news").bind("headline", (data) => console.log(data))`, "With npm install pusher-js. The key is no secret."],
  ["Gusher's own protocol, without a library", `const socket = new WebSocket(${literal(`${place.tls ? "wss" : "ws"}://${netloc(place)}/ws/${encodeURIComponent(app_key)}/alice`)})
socket.onmessage = ({ data }) => console.log(data)`, "alice is the user's tag."]]
}

function node({ app_id, app_key, secret }, place) {
  return [["Publish from Node", `import Pusher from "pusher"

const pusher = new Pusher({
  appId: ${literal(app_id)},
  key: ${literal(app_key)},
  secret: ${literal(secret)},
  host: ${literal(place.host)},
  port: ${literal(place.port)},
  useTLS: ${place.tls},
})

await pusher.trigger("news", "headline", { text: "hello" })`, "With npm install pusher."]]
}

function python({ app_id, app_key, secret }, place) {
  return [["Publish from Python", `import pusher

client = pusher.Pusher(
    app_id=${literal(app_id)},
    key=${literal(app_key)},
    secret=${literal(secret)},
    host=${literal(place.host)},
    port=${place.port},
    ssl=${place.tls ? "True" : "False"},
)

client.trigger("news", "headline", {"text": "hello"})`, "With pip install pusher."]]
}

/** Gusher's own calls go to the private listener, which is where this page comes from. */
function curl({ app_key, account }) {
  const push = `${location.origin}/api/push/${encodeURIComponent(app_key)}`
  return [
    ["Push to everyone", `curl -u ${word(account)} -d content=hello ${word(push)}`, "curl asks for the password of the app's admin."],
    ["Push to the users whose tag matches", `curl -u ${word(account)} -d content=hello -d user_tag='^alice$' ${word(push)}`],
    ["Who is online", `curl -u ${word(account)} ${word(`${location.origin}/api/${encodeURIComponent(app_key)}/listonlineuser`)}`],
  ]
}
