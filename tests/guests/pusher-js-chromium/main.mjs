// The steps of pusher-js in a browser: headless Chromium, and the build for the web that can decrypt.

import { chromium } from "playwright-core"
import { calls, library, serve, server } from "./backend.mjs"

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]

const pusher = library()
const { url } = await serve(pusher, {
  "/pusher.js": "node_modules/pusher-js/dist/web/pusher-with-encryption.js",
  "/pusher_js.mjs": "pusher_js.mjs",
  "/report.mjs": "report.mjs",
})
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGUMENTS })
const page = await browser.newPage()
page.on("console", (message) => message.type() === "log" && console.log(message.text()))
const backend = calls(pusher)
await page.exposeFunction("ask", (name, words) => backend[name](...words))
await page.goto(url)
const { secret, ...shown } = server
const isWell = await page.evaluate(takeSteps, shown)
await browser.close()
process.exit(isWell ? 0 : 1)

/** Runs in the page, so it knows nothing of this file. */
async function takeSteps(server) {
  const { pusherJs, pusherWorld } = await import("/pusher_js.mjs")
  const { run } = await import("/report.mjs")
  const backend = new Proxy({}, { get: (_, name) => (...words) => window.ask(name, words) })
  return run(pusherJs, pusherWorld({ Pusher: window.Pusher, server, backend, auth: location.origin }))
}
