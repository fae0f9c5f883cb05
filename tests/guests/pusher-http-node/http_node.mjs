// What a user of npm's `pusher` sees. PC numbers are those of the checklist; all of it is PC-174.

import Backend from "pusher"
import Pusher from "pusher-js"
import { library } from "./backend.mjs"
import { pusherWorld, subscribe } from "./pusher_js.mjs"
import { check, equal, every, fresh, next, skip } from "./report.mjs"

/** The world of pusher-js, with the library and the webhooks added; these are absent when nobody sends them here. */
export function httpWorld({ pusher, server, auth, webhooks }) {
  const clients = pusherWorld({ Pusher, server, auth })
  return (after) => ({ ...clients(after), pusher, webhooks })
}

/** The JSON of an answer that has to be 200. */
async function json(answering) {
  const response = await answering
  equal(response.status, 200)
  return response.json()
}

/** The status of an answer; the library throws those that refuse. */
async function status(answering) {
  try {
    return (await answering).status
  } catch (error) {
    if (error instanceof Backend.RequestError) return error.status
    throw error
  }
}

/** A client in a channel of that name. */
const inside = async ({ open }, name, who) => subscribe(await open(who), name)

export const httpNode = {
  "triggers an event on one channel and on several (PC-145)": async (world) => {
    const [one, other] = [await inside(world, fresh()), await inside(world, fresh())]
    const first = next(one, "news")
    equal(await json(world.pusher.trigger(one.name, "news", { text: "a" })), {})
    equal(await first, { text: "a" })
    const both = [next(one, "news"), next(other, "news")]
    equal(await json(world.pusher.trigger([one.name, other.name], "news", { text: "b" })), {})
    equal(await Promise.all(both), [{ text: "b" }, { text: "b" }])
  },

  "keeps an event from the socket that caused it (PC-151)": async ({ open, pusher }) => {
    const client = await open()
    const channel = await subscribe(client, fresh())
    const [own, last] = [every(channel, "edit"), next(channel, "last")]
    await pusher.trigger(channel.name, "edit", {}, { socket_id: client.connection.socket_id })
    await pusher.trigger(channel.name, "last", {})
    await last
    equal(own, [])
  },

  "is told with an event who could hear it (PC-153, PC-154)": async (world) => {
    const [room, hall] = [await inside(world, fresh("presence-"), "anna"), await inside(world, fresh())]
    await inside(world, room.name, "anna")
    await inside(world, hall.name)
    const asked = world.pusher.trigger([room.name, hall.name], "e", {}, { info: "user_count,subscription_count" })
    const { channels } = await json(asked)
    equal([channels[room.name].user_count, channels[hall.name]], [1, { subscription_count: 2 }])
  },

  "triggers a batch, in order (PC-159, PC-160)": async (world) => {
    const channel = await inside(world, fresh())
    const heard = every(channel, "count")
    const last = next(channel, "last")
    const batch = [1, 2, 3].map((number) => ({ channel: channel.name, name: "count", data: { number } }))
    equal(await json(world.pusher.triggerBatch(batch)), {})
    const asking = { channel: channel.name, name: "last", data: {}, info: "subscription_count" }
    const beside = { channel: fresh(), name: "last", data: {} }
    equal(await json(world.pusher.triggerBatch([asking, beside])), { batch: [{ subscription_count: 1 }, {}] })
    await last
    equal(heard, [{ number: 1 }, { number: 2 }, { number: 3 }])
  },

  "lists channels (PC-162, PC-163, PC-164)": async (world) => {
    const room = await inside(world, fresh("presence-"), "anna")
    const hall = await inside(world, fresh())
    const list = (params) => json(world.pusher.get({ path: "/channels", params }))
    const { channels } = await list()
    equal([channels[room.name], channels[hall.name]], [{}, {}])
    const rooms = await list({ filter_by_prefix: room.name, info: "user_count" })
    equal(rooms, { channels: { [room.name]: { user_count: 1 } } })
    equal(await list({ filter_by_prefix: fresh() }), { channels: {} })
    equal(await status(world.pusher.get({ path: "/channels", params: { info: "user_count" } })), 400)
  },

  "asks about one channel (PC-165, PC-166)": async (world) => {
    const room = await inside(world, fresh("presence-"), "anna")
    const hall = await inside(world, fresh())
    const ask = (name, info) => world.pusher.get({ path: `/channels/${name}`, params: info && { info } })
    equal(await json(ask(room.name, "user_count")), { occupied: true, user_count: 1 })
    equal(await json(ask(hall.name, "subscription_count")), { occupied: true, subscription_count: 1 })
    equal(await json(ask(fresh())), { occupied: false })
    equal(await status(ask(hall.name, "user_count")), 400)
  },

  "reads the cache of a channel (PC-167)": async ({ pusher }) => {
    const name = fresh("cache-")
    const ask = () => json(pusher.get({ path: `/channels/${name}`, params: { info: "cache" } }))
    equal(await ask(), { occupied: false, cache: null })
    await pusher.trigger(name, "weather", { sky: "blue" })
    const { cache } = await ask()
    equal(cache?.data, '{"sky":"blue"}')
    check(cache.ttl > 0 && cache.ttl <= 1800, "at most half an hour", cache.ttl)
  },

  "lists the users of a presence channel (PC-168)": async (world) => {
    const name = fresh("presence-")
    for (const who of ["anna", "bob", "bob"]) await inside(world, name, who)
    const list = (channel) => world.pusher.get({ path: `/channels/${channel}/users` })
    const { users } = await json(list(name))
    equal(users.map(({ id }) => id).sort(), ["anna", "bob"])
    equal(await json(list(fresh("presence-"))), { users: [] })
    equal(await status(list(fresh())), 400)
  },

  "sends to a user, online or not (PC-104, PC-157)": async ({ signIn, pusher }) => {
    const who = fresh()
    const mail = next((await signIn(who)).user, "mail")
    equal(await json(pusher.sendToUser(who, "mail", { from: "bob" })), {})
    equal(await mail, { from: "bob" })
    equal(await json(pusher.sendToUser(fresh(), "mail", {})), {})
  },

  "terminates the connections of a user (PC-112, PC-170)": async ({ signIn, pusher }) => {
    const who = fresh()
    const ended = next((await signIn(who)).connection, "disconnected")
    equal(await json(pusher.terminateUserConnections(who)), {})
    await ended
  },

  "may name users with characters that a path escapes (PC-141)": async ({ pusher }) => {
    equal(await json(pusher.terminateUserConnections("a b")), {})
  },

  "is refused with a status that says why (PC-133, PC-134, PC-136, PC-149)": async ({ server, pusher }) => {
    const forged = library({ secret: `${server.secret}x` })
    equal(await status(forged.trigger(fresh(), "e", {})), 401)
    equal(await status(library({ key: fresh() }).trigger(fresh(), "e", {})), 401)
    equal(await status(library({ appId: "4294967295" }).trigger(fresh(), "e", {})), 404)
    equal(await status(pusher.trigger(fresh(), "e", "x".repeat(10_241))), 413)
    equal(await json(pusher.trigger(fresh(), "e", "x".repeat(10_240))), {})
  },

  "gets webhooks that its own check accepts (PC-175, PC-184, PC-187, PC-188)": async (world) => {
    const { webhooks, pusher } = world
    if (!webhooks) skip("nobody sends any here (GUEST_WEBHOOKS)")
    const channel = await inside(world, fresh())
    const request = await webhooks.until("channel_occupied", tells("channel_occupied", channel.name))
    const webhook = pusher.webhook(request)
    equal([webhook.isValid(), webhook.getEvents()], [true, [{ name: "channel_occupied", channel: channel.name }]])
    const age_ms = Date.now() - webhook.getTime()
    check(Number.isInteger(webhook.getData().time_ms) && Math.abs(age_ms) < 10_000, "the present time", age_ms)
    const forged = { ...request, rawBody: request.rawBody.replace("occupied", "vacated") }
    equal(pusher.webhook(forged).isValid(), false)
  },

  "is told by webhooks what goes on in a channel (PC-176, PC-177, PC-178, PC-179)": async (world) => {
    const { open, webhooks, pusher } = world
    if (!webhooks) skip("nobody sends any here (GUEST_WEBHOOKS)")
    const [client, name] = [await open("anna"), fresh("presence-")]
    const channel = await subscribe(client, name)
    await webhooks.until("member_added", tells("member_added", name))
    channel.trigger("client-typing", { keys: 3 })
    await webhooks.until("client_event", tells("client_event", name))
    const { socket_id } = client.connection
    client.disconnect()
    await webhooks.until("channel_vacated", tells("channel_vacated", name))
    const events = webhooks.all.flatMap((request) => pusher.webhook(request).getEvents())
    equal(
      events.filter((event) => event.channel === name),
      [
        { name: "channel_occupied", channel: name },
        { name: "member_added", channel: name, user_id: "anna" },
        { name: "client_event", channel: name, event: "client-typing", data: '{"keys":3}', socket_id, user_id: "anna" },
        { name: "member_removed", channel: name, user_id: "anna" },
        { name: "channel_vacated", channel: name },
      ],
    )
  },

  "is told by webhooks of empty caches and of counts (PC-180, PC-181)": async (world) => {
    const { webhooks, pusher } = world
    if (!webhooks) skip("nobody sends any here (GUEST_WEBHOOKS)")
    const channel = await inside(world, fresh("cache-"))
    await webhooks.until("cache_miss", tells("cache_miss", channel.name))
    const counted = await webhooks.until("subscription_count", tells("subscription_count", channel.name))
    equal(pusher.webhook(counted).getEvents()[0].subscription_count, 1)
  },
}

/** Whether a request tells of that in the channel. */
function tells(name, channel) {
  return ({ rawBody }) => JSON.parse(rawBody).events.some((event) => event.name === name && event.channel === channel)
}
