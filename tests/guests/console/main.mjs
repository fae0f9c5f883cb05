// Whoever uses the console: every action of it, through the page, by what is written on it. Headless Chromium, and
// clients with real sockets.

import { chromium } from "playwright-core"
import { arrange } from "./arrange.mjs"
import { change } from "./change.mjs"
import { look } from "./look.mjs"
import { pictures } from "./pictures.mjs"
import { run, skip } from "./report.mjs"

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]

/** When something waits for ever that should not; taking the pictures has a time of its own. */
const PATIENCE_MS = 240_000

const late = setTimeout(() => {
  console.log(`FAIL: not done after ${PATIENCE_MS / 1000} s`)
  process.exit(1)
}, PATIENCE_MS)

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ARGUMENTS,
  // So that a page is as wide as it is for people.
  ignoreDefaultArgs: ["--hide-scrollbars"],
})
const world = await arrange(browser)
// In the order in which somebody would take them: each goes on where the one before it ended.
const steps = { ...look, ...change }
const isWell = await run(Object.fromEntries(Object.entries(steps).map(unlessLost)), () => world)
clearTimeout(late)
if (isWell && process.env.CONSOLE_PICTURES) await pictures(browser, world, process.env.CONSOLE_PICTURES)
await browser.close()
process.exit(isWell ? 0 : 1)

/** A step begins where the one before it ended: after one that failed, the others would have nothing to say. */
function unlessLost([name, take]) {
  return [name, async (world) => {
    if (world.isLost) skip("a step before it failed")
    world.isLost = true
    await take(world)
    world.isLost = false
  }]
}
