// npm's `pusher`: what a backend in Node calls, and the webhooks it gets. pusher-js listens.

import { library, serve, server } from "./backend.mjs"
import { httpNode, httpWorld } from "./http_node.mjs"
import { run } from "./report.mjs"
import { listen } from "./webhooks.mjs"

const pusher = library()
const { url } = await serve(pusher)
const webhooks = process.env.GUEST_WEBHOOKS && (await listen(process.env.GUEST_WEBHOOKS))
const isWell = await run(httpNode, httpWorld({ pusher, server, auth: url, webhooks }))
process.exit(isWell ? 0 : 1)
