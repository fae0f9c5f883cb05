// The mark: water that rises and falls.

import { svg } from "./dom.js"

export function logo() {
  return svg("svg", { class: "logo", viewBox: "0 0 24 24", "aria-hidden": "true" },
    svg("path", { d: "M12 21V8M12 8c0-4-5-5-7-1M12 8c0-4 5-5 7-1M12 13c0-3-4-3.5-5.5-.5M12 13c0-3 4-3.5 5.5-.5" }))
}
