// Laravel Echo in Node, with both broadcasters that speak our dialect.

import Echo from "laravel-echo"
import Pusher from "pusher-js"
import nacl from "tweetnacl"
import { calls, library, serve, server } from "./backend.mjs"
import { echo } from "./echo.mjs"
import { next, run } from "./report.mjs"

const pusher = library()
const { url } = await serve(pusher)
const backend = calls(pusher)

/** What the steps are given for one broadcaster. */
const world = (broadcaster) => (after) => {
  /** A connected Echo of that user; the token is what the application knows the user by. */
  const open = async (who) => {
    const own = new Echo({
      broadcaster,
      Pusher,
      nacl,
      key: server.key,
      cluster: "x",
      wsHost: server.host,
      wsPort: server.port,
      forceTLS: false,
      enabledTransports: ["ws"],
      authEndpoint: `${url}/auth`,
      bearerToken: who,
    })
    after(() => own.disconnect())
    await next(own.connector.pusher.connection, "connected")
    return own
  }
  return { server, backend, open }
}

let isWell = true
for (const broadcaster of ["pusher", "reverb"]) {
  const steps = Object.entries(echo).map(([name, take]) => [`${broadcaster}: ${name}`, take])
  isWell = (await run(Object.fromEntries(steps), world(broadcaster))) && isWell
}
process.exit(isWell ? 0 : 1)
