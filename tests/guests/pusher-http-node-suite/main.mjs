// The tests that npm's `pusher` brings along, those that want a real server (PC-174). One of them puts a proxy on port 8321.

import { readdirSync } from "node:fs"
import Mocha from "mocha"

const SUITE = "node_modules/pusher/tests/remote/pusher"

const { PUSHER_HOST, PUSHER_PORT, PUSHER_APP_ID, PUSHER_APP_KEY, PUSHER_APP_SECRET } = process.env
const [key, secret] = [PUSHER_APP_KEY, PUSHER_APP_SECRET].map(encodeURIComponent)
process.env.PUSHER_URL = `http://${key}:${secret}@${PUSHER_HOST}:${PUSHER_PORT}/apps/${PUSHER_APP_ID}`

const mocha = new Mocha({ timeout: 10_000, reporter: function Silent() {} })
for (const file of readdirSync(SUITE)) mocha.addFile(`${SUITE}/${file}`)
const { stats } = mocha
  .run((failures) => process.exit(failures === 0 && stats.passes > 0 ? 0 : 1))
  .on("pass", (test) => console.log(`ok   ${test.fullTitle()}`))
  .on("pending", (test) => console.log(`skip ${test.fullTitle()}: the suite leaves it out`))
  .on("fail", (test, error) => console.log(`FAIL ${test.fullTitle()}: ${error.message}`))
