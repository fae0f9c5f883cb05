// pusher-js in Node.

import Pusher from "pusher-js"
import nacl from "tweetnacl"
import { calls, library, serve, server } from "./backend.mjs"
import { pusherJs, pusherWorld } from "./pusher_js.mjs"
import { run } from "./report.mjs"

const pusher = library()
const { url } = await serve(pusher)
const world = pusherWorld({ Pusher, server, backend: calls(pusher), auth: url, extra: { nacl } })
process.exit((await run(pusherJs, world)) ? 0 : 1)
