// Charts of the last five minutes: lines over time, drawn as SVG at the size they are shown in.

import { fresh, h, put, say, svg } from "./dom.js"
import { time } from "./format.js"

/** How much time a chart shows. */
export const SPAN_MS = 300_000

const HEIGHT = 132
const EDGE = { left: 64, right: 8, top: 8, bottom: 22 }

/**
 * @param {string} title what is shown
 * @param {Array<{name: string, colour: string}>} series colour: a class of the style sheet
 * @param {function} format a value -> a text
 * @param {{least?: number, note?: string, binary?: boolean}} more least: the axis goes at least to this
 * @returns {{element: Element, draw: function}} draw takes [{time_ms, values: number[]|null}]; null is a gap
 */
export function chart(title, series, format, { least = 1, note, binary = false } = {}) {
  const heading = h("h2", { id: fresh("chart") }, title)
  const values = series.map(() => h("b", {}, "–"))
  const legend = h("div", { class: "legend" }, series.map(({ name, colour }, index) =>
    h("span", { class: colour }, h("i"), `${name} `, values[index])))
  const drawing = svg("svg", { class: "chart", role: "img", height: HEIGHT })
  const box = h("div", { class: "chart-box" }, drawing)
  const about = h("span", { class: "at" }, note ?? "")
  const element = h("section", { class: "card", "aria-labelledby": heading.id },
    h("div", { class: "card-head" }, heading, about), legend, box)

  let samples = []
  let pointed = null
  const draw = () => {
    const width = box.clientWidth
    if (width > EDGE.left + EDGE.right) put(drawing, picture(samples, width))
    drawing.setAttribute("width", width)
    tell()
  }

  function picture(samples, width) {
    const now = samples.at(-1)?.time_ms ?? Date.now()
    const peak = Math.max(least, ...samples.flatMap(({ values }) => values ?? []))
    const steps = ticks(peak, binary)
    const ceiling = steps.at(-1)
    const x = (time_ms) => EDGE.left + (1 - (now - time_ms) / SPAN_MS) * (width - EDGE.left - EDGE.right)
    const y = (value) => EDGE.top + (1 - value / ceiling) * (HEIGHT - EDGE.top - EDGE.bottom)
    return [
      grid(steps, format, width, x, y, now),
      series.map(({ colour }, index) => line(samples, index, colour, x, y)),
      pointed !== null && samples[pointed] && marker(samples[pointed], series, x, y),
    ]
  }

  function tell() {
    const sample = samples[pointed ?? samples.length - 1]
    values.forEach((value, index) => say(value, sample?.values ? format(sample.values[index]) : "–"))
    say(about, pointed === null ? note ?? "" : time(sample.time_ms))
    const words = series.map(({ name }, index) => `${name} ${values[index].textContent}`)
    if (pointed === null) drawing.setAttribute("aria-label", `${title}, last five minutes: now ${words.join(", ")}`)
  }

  function point(event) {
    const width = box.clientWidth - EDGE.left - EDGE.right
    const at = (event.clientX - box.getBoundingClientRect().left - EDGE.left) / width
    const now = samples.at(-1)?.time_ms ?? 0
    const wanted = now - (1 - at) * SPAN_MS
    const distance = ({ time_ms }) => Math.abs(time_ms - wanted)
    pointed = samples.reduce((best, sample, index) =>
      best === null || distance(sample) < distance(samples[best]) ? index : best, null)
    draw()
  }

  drawing.addEventListener("pointermove", point)
  drawing.addEventListener("pointerleave", () => {
    pointed = null
    draw()
  })
  new ResizeObserver(draw).observe(box)
  return { element, draw: (newer) => { samples = newer; draw() } }
}

function grid(steps, format, width, x, y, now) {
  const levels = steps.map((step) => [
    svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(step), y2: y(step) }),
    svg("text", { class: "tick", x: EDGE.left - 8, y: y(step) + 4, "text-anchor": "end" }, format(step)),
  ])
  const minutes = (width < 340 ? [4, 2, 0] : [4, 3, 2, 1, 0]).map((minute) => {
    const at = x(now - minute * 60_000)
    const anchor = minute ? "middle" : "end"
    return svg("text", { class: "tick", x: at, y: HEIGHT - 4, "text-anchor": anchor }, minute ? `−${minute} min` : "now")
  })
  return [levels, minutes]
}

/** One line for each stretch without a gap, over its own shade. */
function line(samples, index, colour, x, y) {
  const stretches = [[]]
  for (const { time_ms, values } of samples) {
    if (values) stretches.at(-1).push(`${x(time_ms).toFixed(1)},${y(values[index]).toFixed(1)}`)
    else stretches.push([])
  }
  return stretches.filter((points) => points.length).map((points) => {
    const ends = [points[0], points.at(-1)].map((point) => point.split(",")[0])
    return svg("g", { class: colour },
      svg("path", { class: "area", d: `M${ends[0]},${y(0)}L${points.join("L")}L${ends[1]},${y(0)}Z` }),
      svg("path", { class: "line", d: `M${points.join("L")}` }))
  })
}

function marker(sample, series, x, y) {
  const at = x(sample.time_ms)
  return svg("g", {},
    svg("line", { class: "pointed", x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
    sample.values?.map((value, index) =>
      svg("circle", { class: `dot ${series[index].colour}`, cx: at, cy: y(value), r: 3.5 })))
}

/** Nought, and two round steps up to or above the peak. `binary`: round in units of 1024. */
export function ticks(peak, binary) {
  const unit = binary ? 1024 ** Math.floor(Math.log(Math.max(peak, 1)) / Math.log(1024)) : 1
  const half = peak / unit / 2
  const power = 10 ** Math.floor(Math.log10(half))
  const step = [1, 2, 2.5, 5, 10].find((round) => round * power >= half - 1e-9) * power * unit
  return [0, step, step * 2]
}
