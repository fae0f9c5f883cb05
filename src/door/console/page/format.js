// Numbers, sizes and times as people read them, in the language of their browser.

const whole = new Intl.NumberFormat()
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 })
const small = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 })
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false })
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" })

export const count = (number) => whole.format(number)

/** A count or a rate: exact while it is small. */
export const brief = (number) => (number < 100 ? small : short).format(number)

export const percent = (number) => `${small.format(number)} %`

export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"]
  let unit = 0
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024
    unit += 1
  }
  return `${small.format(number)} ${units[unit]}`
}

export const time = (time_ms) => clock.format(time_ms)

/** A day and a time; `registered` of an app may be milliseconds or a text. */
export function date(value) {
  const at = typeof value === "number" || /^\d+$/.test(value) ? Number(value) : Date.parse(value)
  return Number.isNaN(at) ? String(value ?? "") : moment.format(at)
}

export function duration(seconds) {
  const parts = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]]
  const first = Math.max(0, parts.findIndex(([length]) => seconds >= length))
  const say = ([length, unit], rest) => `${Math.floor(rest / length)} ${unit}`
  if (seconds < 60) return `${Math.floor(seconds)} s`
  const left = seconds % parts[first][0]
  return `${say(parts[first], seconds)} ${say(parts[first + 1], left)}`
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`

/** How many nodes there are besides this one; null: nobody knows. */
export function besides(others) {
  if (others == null) return "how many others there are is not known"
  return others ? `there ${others === 1 ? "is" : "are"} ${plural(others, "other")}` : "there are no others"
}
