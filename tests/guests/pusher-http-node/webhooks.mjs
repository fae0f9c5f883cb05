// Where the server's webhooks arrive.

import { createServer } from "node:http"
import { text } from "./backend.mjs"
import { soon } from "./report.mjs"

/**
 * Takes webhooks at `host:port`.
 *
 * @returns {Promise<{all: Object[], until: function}>} the requests as npm's `pusher` wants them, and a wait for the
 * first that matches
 */
export async function listen(address) {
  const all = []
  let wake = () => {}
  const http = createServer(async (request, response) => {
    all.push({ headers: request.headers, rawBody: await text(request) })
    response.end()
    wake()
  })
  const at = address.lastIndexOf(":")
  await new Promise((resolve) => http.listen(Number(address.slice(at + 1)), address.slice(0, at), resolve))
  const until = (what, matches) =>
    soon(
      what,
      (async () => {
        while (!all.some(matches)) await new Promise((resolve) => (wake = resolve))
        return all.find(matches)
      })(),
    )
  return { all, until }
}
