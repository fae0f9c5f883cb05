// What happens in an app as the node tells it, kept for a while: the newest of each kind, so that what is rare is not
// pushed out by what is frequent.

import { follow, of } from "./api.js"

/** The most of each kind that are kept, and the most that are shown. */
export const KEPT_MAX = 500

const RETRY_FIRST_MS = 1_000
const RETRY_MAX_MS = 15_000

export class Feed {
  /** @param {AbortSignal} signal ends it for good */
  constructor(key, signal) {
    this.key = key
    this.signal = signal
    this.kinds = new Map()
    this.skipped = 0
    this.total = 0
    /** How many other nodes there are, of which nothing is heard; null: nobody knows. */
    this.others = null
    /** "idle", "opening", "live", "waiting" or "ended", and why. */
    this.state = { name: "idle", reason: null }
    /** Called with the items that came, none when only the state changed. */
    this.changed = () => {}
  }

  /** Begins, the first time. */
  start() {
    if (this.state.name === "idle") this.run()
  }

  async run() {
    let pause_ms = RETRY_FIRST_MS
    while (!this.signal.aborted && this.state.name !== "ended") {
      this.become("opening", this.state.reason)
      try {
        await follow(of(this.key, "feed"), this.signal, (event, data) => this.hear(event, data), () => {
          pause_ms = RETRY_FIRST_MS
          this.become("live", null)
        })
        // The session, the app or the node has come to an end: the next attempt tells which.
        this.become("waiting", "The node ended the feed.")
      } catch (fault) {
        if (this.signal.aborted) return
        const isFinal = [401, 403, 404].includes(fault.status)
        this.become(isFinal ? "ended" : "waiting", fault.status === undefined ? "The connection was lost." : fault.message)
      }
      await this.rest(pause_ms)
      pause_ms = Math.min(pause_ms * 2, RETRY_MAX_MS)
    }
  }

  hear(event, data) {
    if (event === "nodes") {
      this.others = data.others
      return this.changed([])
    }
    if (event === "skipped") {
      this.skipped += data.count
      return this.changed([])
    }
    if (event !== "item") return
    const item = { ...data, number: this.total++ }
    const kept = this.kinds.get(item.kind) ?? []
    this.kinds.set(item.kind, kept)
    kept.push(item)
    // Cut now and then, not with each item.
    if (kept.length > KEPT_MAX * 2) kept.splice(0, kept.length - KEPT_MAX)
    this.changed([item])
  }

  become(name, reason) {
    this.state = { name, reason }
    this.changed([])
  }

  rest(pause_ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pause_ms)
      this.signal.addEventListener("abort", () => { clearTimeout(timer); resolve() }, { once: true })
    })
  }

  /** The newest that fit, newest first. */
  newest(fits) {
    const all = [...this.kinds.values()].flatMap((kept) => kept.slice(-KEPT_MAX)).filter(fits)
    return all.sort((one, other) => other.number - one.number).slice(0, KEPT_MAX)
  }

  clear() {
    this.kinds.clear()
    this.skipped = 0
    this.changed([])
  }
}
