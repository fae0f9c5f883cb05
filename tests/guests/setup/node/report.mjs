// Steps and what is printed of them, the same in Node and in a browser.

const PATIENCE_MS = 10_000

/**
 * Takes steps one after the other, each with a world of its own, and says how each went. A step that fails does not
 * keep the others from being tried. `world` is given a function that registers what is to be done after the step.
 *
 * @param {Object<string, function>} steps what a user sees -> how that is tried
 * @returns {Promise<boolean>} whether all went well
 */
export async function run(steps, world) {
  let isWell = true
  for (const [name, take] of Object.entries(steps)) {
    const cleanups = []
    try {
      await take(world((cleanup) => cleanups.push(cleanup)))
      console.log(`ok   ${name}`)
    } catch (error) {
      const isSkipped = error instanceof Skipped
      isWell &&= isSkipped
      console.log(isSkipped ? `skip ${name}: ${error.message}` : `FAIL ${name}: ${difference(error)}`)
    }
    for (const cleanup of cleanups.reverse()) await cleanup()
  }
  return isWell
}

/** What was expected and what came, also when it is an SDK that complains; some bring the server's own words. */
function difference(error) {
  if (error instanceof Unexpected) return error.message
  const words = [error?.message ?? JSON.stringify(error), error?.body].filter(Boolean)
  return `expected no error, got ${words.join(": ").trim()}`
}

class Unexpected extends Error {}

class Skipped extends Error {}

/** Leaves a step untried. */
export function skip(why) {
  throw new Skipped(why)
}

/** Fails unless both say the same as JSON, whatever the order of members. */
export function equal(got, expected) {
  const [left, right] = [canonical(got), canonical(expected)]
  if (left !== right) throw new Unexpected(`expected ${right}, got ${left}`)
}

/** Fails unless `holds`; `expected` says what was expected, `got` is shown. */
export function check(holds, expected, got) {
  if (!holds) throw new Unexpected(`expected ${expected}, got ${canonical(got)}`)
}

/** Waits for what must come. */
export function soon(what, coming, patience_ms = PATIENCE_MS) {
  let timer
  const late = new Promise((_, reject) => {
    const nothing = new Unexpected(`expected ${what}, got nothing within ${patience_ms / 1000} s`)
    timer = setTimeout(() => reject(nothing), patience_ms)
  })
  const first = Promise.race([coming, late]).finally(() => clearTimeout(timer))
  // A step that fails before it gets to waiting has its own message already.
  first.catch(() => {})
  return first
}

/** The data of the next event of that name. Ask before you cause it. */
export function next(emitter, event, pick = (data) => data, patience_ms = PATIENCE_MS) {
  const coming = new Promise((resolve) => {
    const listener = (...heard) => {
      emitter.unbind(event, listener)
      resolve(pick(...heard))
    }
    emitter.bind(event, listener)
  })
  return soon(event, coming, patience_ms)
}

/** A list that grows by the data of every event of that name. */
export function every(emitter, event) {
  const heard = []
  emitter.bind(event, (data) => heard.push(data))
  return heard
}

/** A name that no other run uses. */
export function fresh(prefix = "") {
  return `${prefix}guest-${Math.random().toString(36).slice(2, 10)}`
}

function canonical(value) {
  const sorted = (_, inner) =>
    inner && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner
  return JSON.stringify(value, sorted) ?? "undefined"
}
