// What a user of pusher-js sees: one list of steps for Node and for browsers. PC numbers are those of the checklist.

import { check, equal, every, fresh, next, skip, soon } from "./report.mjs"

/**
 * What the steps below are given.
 *
 * @param {function} Pusher the SDK
 * @param {Object} server where to connect; see backend.mjs
 * @param {Object} backend what the application can be asked for; see backend.mjs
 * @param {string} auth where the application's endpoints are
 * @param {Object} extra further options of each client
 */
export function pusherWorld({ Pusher, server, backend, auth, extra = {} }) {
  return (after) => {
    /** A client of that user, on its way to being connected. */
    const start = (who, changes = {}) => {
      const { key = server.key, watchlist, ...options } = changes
      const headers = { Authorization: `Bearer ${who}` }
      const client = new Pusher(key, {
        cluster: "x",
        wsHost: server.host,
        wsPort: server.port,
        forceTLS: false,
        enabledTransports: ["ws"],
        channelAuthorization: { endpoint: `${auth}/auth`, headers },
        userAuthentication: { endpoint: `${auth}/user`, headers, params: watchlist ? { watchlist } : {} },
        ...extra,
        ...options,
      })
      after(() => client.disconnect())
      return client
    }
    /** A connected client. */
    const open = async (who = fresh(), changes) => {
      const client = start(who, changes)
      await next(client.connection, "connected")
      return client
    }
    /** A client that is signed in. */
    const signIn = async (who, changes) => {
      const client = await open(who, changes)
      client.signin()
      await soon("to be signed in", client.user.signinDonePromise)
      equal(client.user.user_data?.id, who)
      const own = client.user.serverToUserChannel
      if (!own.subscribed) await next(own, "pusher:subscription_succeeded")
      return client
    }
    return { server, backend, start, open, signIn }
  }
}

/** Subscribes, and waits until the server has said yes. */
export async function subscribe(client, name) {
  const channel = client.subscribe(name)
  await next(channel, "pusher:subscription_succeeded")
  return channel
}

/** The ids of all members, sorted. */
const ids = (channel) => Object.keys(channel.members.members).sort()

export const pusherJs = {
  "connects and knows its socket id (PC-019)": async ({ start }) => {
    const { connection } = start("anna")
    const { socket_id } = await next(connection, "connected")
    equal(connection.state, "connected")
    equal(connection.socket_id, socket_id)
    check(/^\d+\.\d+$/.test(socket_id), "two numbers and a dot (PC-003)", socket_id)
  },

  "an unknown key ends in `disconnected` with 4001, and stays so (PC-020)": async ({ start }) => {
    const { connection } = start("anna", { key: fresh() })
    const states = every(connection, "state_change")
    const refused = next(connection, "error")
    await next(connection, "disconnected")
    equal((await refused).error.data.code, 4001)
    // A client that tries again does so within a second.
    await new Promise((resolve) => setTimeout(resolve, 1500))
    equal(states.at(-1).current, "disconnected")
  },

  "hears a public channel until it unsubscribes (PC-042, PC-045, PC-046, PC-048)": async ({ open, backend }) => {
    const [client, name] = [await open(), fresh()]
    const channel = await subscribe(client, name)
    const heard = every(channel, "headline")
    const plain = next(channel, "plain")
    await backend.trigger(name, "headline", { text: "hällo \u2028 👋" })
    await backend.trigger(name, "plain", "not json")
    equal(await plain, "not json")
    client.unsubscribe(name)
    const other = await subscribe(client, fresh())
    const last = next(other, "last")
    await backend.trigger([name, other.name], "headline", { text: "too late" })
    await backend.trigger(other.name, "last", {})
    await last
    equal(heard, [{ text: "hällo \u2028 👋" }])
  },

  "hears events in the order they were published (PC-049)": async ({ open, backend }) => {
    const channel = await subscribe(await open(), fresh())
    const heard = every(channel, "count")
    const last = next(channel, "last")
    for (let number = 0; number < 20; number++) await backend.trigger(channel.name, "count", number)
    await backend.trigger(channel.name, "last", {})
    await last
    equal(heard, [...Array(20).keys()])
  },

  "hears a private channel after the application agreed": async ({ open, backend }) => {
    const channel = await subscribe(await open(), fresh("private-"))
    const heard = next(channel, "secret")
    await backend.trigger(channel.name, "secret", { answer: 42 })
    equal(await heard, { answer: 42 })
  },

  "a wrong signature gives `pusher:subscription_error` (PC-055, PC-056)": async ({ open }) => {
    const channel = (await open("mallory")).subscribe(fresh("private-"))
    const { type, status } = await next(channel, "pusher:subscription_error")
    equal({ type, status }, { type: "AuthError", status: 401 })
    equal(channel.subscribed, false)
  },

  "sees the members of a presence channel come and go (PC-065, PC-066, PC-067, PC-068, PC-082)": async (world) => {
    const { open, backend } = world
    const name = fresh("presence-")
    const here = await subscribe(await open("anna"), name)
    equal([here.members.me, here.members.count], [{ id: "anna", info: { name: "anna" } }, 1])
    const [came, went] = [every(here, "pusher:member_added"), every(here, "pusher:member_removed")]

    const added = next(here, "pusher:member_added")
    const bob = await open("bob")
    const there = await subscribe(bob, name)
    equal(await added, { id: "bob", info: { name: "bob" } })
    equal([ids(there), there.members.count, there.members.me.id], [["anna", "bob"], 2, "bob"])

    // A second socket of somebody who is there already, which leaves again.
    const second = await open("bob")
    equal((await subscribe(second, name)).members.count, 2)
    second.disconnect()
    const removed = next(here, "pusher:member_removed")
    bob.disconnect()
    equal((await removed).id, "bob")
    const last = next(here, "last")
    await backend.trigger(name, "last", {})
    await last
    equal([came.length, went.length, ids(here), here.members.count], [1, 1, ["anna"], 1])
  },

  "leaves a presence channel by unsubscribing (PC-068)": async ({ open }) => {
    const name = fresh("presence-")
    const here = await subscribe(await open("anna"), name)
    const bob = await open("bob")
    await subscribe(bob, name)
    const removed = next(here, "pusher:member_removed")
    bob.unsubscribe(name)
    equal((await removed).id, "bob")
  },

  "reads an encrypted channel (PC-091)": async ({ open, backend }) => {
    const channel = await subscribe(await open(), fresh("private-encrypted-"))
    const heard = next(channel, "secret")
    await backend.trigger(channel.name, "secret", { text: "only for you" })
    equal(await heard, { text: "only for you" })
  },

  "an empty cache channel says so (PC-084)": async ({ open }) => {
    const channel = (await open()).subscribe(fresh("cache-"))
    const order = []
    channel.bind_global((event) => order.push(event))
    await next(channel, "pusher:cache_miss")
    equal(order.slice(0, 2), ["pusher:subscription_succeeded", "pusher:cache_miss"])
  },

  "a cache channel gives newcomers its last event (PC-085, PC-086, PC-087, PC-090)": async ({ open, backend }) => {
    const client = await open("anna")
    for (const prefix of ["cache-", "private-cache-", "presence-cache-", "private-encrypted-cache-"]) {
      const name = fresh(prefix)
      await backend.trigger(name, "weather", { sky: "grey" })
      await backend.trigger(name, "weather", { sky: "blue" })
      const channel = client.subscribe(name)
      const heard = every(channel, "weather")
      await next(channel, "weather")
      equal(heard, [{ sky: "blue" }])
    }
  },

  "is told how many subscribe (PC-094, PC-095)": async ({ open }) => {
    const name = fresh()
    const [first, second] = [await open(), await open()]
    const channel = first.subscribe(name)
    equal(await next(channel, "pusher:subscription_count"), { subscription_count: 1 })
    const more = next(channel, "pusher:subscription_count")
    const other = second.subscribe(name)
    equal(await next(other, "pusher:subscription_count"), { subscription_count: 2 })
    equal(await more, { subscription_count: 2 })
    equal(channel.subscriptionCount, 2)
    const fewer = next(channel, "pusher:subscription_count")
    second.unsubscribe(name)
    equal(await fewer, { subscription_count: 1 })
  },

  "clients talk to each other on a private channel (PC-115, PC-120)": async ({ open }) => {
    const name = fresh("private-")
    const [mine, yours] = [await subscribe(await open("anna"), name), await subscribe(await open("bob"), name)]
    const [echo, heard] = [every(mine, "client-typing"), next(yours, "client-typing")]
    mine.trigger("client-typing", { keys: [1, 2] })
    equal(await heard, { keys: [1, 2] })
    // What came back to the sender would have come before this.
    const answer = next(mine, "client-done")
    yours.trigger("client-done", "plain")
    equal(await answer, "plain")
    equal(echo, [])
  },

  "clients on a presence channel know who speaks (PC-121)": async ({ open }) => {
    const name = fresh("presence-")
    const [mine, yours] = [await subscribe(await open("anna"), name), await subscribe(await open("bob"), name)]
    const heard = next(yours, "client-typing", (data, metadata) => ({ data, ...metadata }))
    mine.trigger("client-typing", {})
    equal(await heard, { data: {}, user_id: "anna" })
  },

  "does not hear what it had published itself (PC-151)": async ({ open, backend }) => {
    const name = fresh()
    const [author, reader] = [await open(), await open()]
    const [mine, yours] = [await subscribe(author, name), await subscribe(reader, name)]
    const [own, heard, last] = [every(mine, "edit"), next(yours, "edit"), next(mine, "last")]
    await backend.trigger(name, "edit", { line: 1 }, { socket_id: author.connection.socket_id })
    equal(await heard, { line: 1 })
    await backend.trigger(name, "last", {})
    await last
    equal(own, [])
  },

  "signs in, and hears what is sent to its user (PC-099, PC-104, PC-106)": async ({ signIn, backend }) => {
    const who = fresh()
    const [phone, desk] = [await signIn(who), await signIn(who)]
    equal(phone.user.user_data, { id: who, user_info: { name: who } })
    const both = [next(phone.user, "mail"), next(desk.user, "mail")]
    await backend.sendToUser(who, "mail", { from: "bob" })
    equal(await Promise.all(both), [{ from: "bob" }, { from: "bob" }])
  },

  "sees whom it watches come and go (PC-107, PC-108, PC-109)": async ({ signIn, open }) => {
    const [friend, stranger, watcher] = [fresh(), fresh(), fresh()]
    const first = await signIn(friend)
    const client = await open(watcher, { watchlist: `${friend},${stranger}` })
    const { watchlist } = client.user
    const [online, offline] = [every(watchlist, "online"), every(watchlist, "offline")]
    const [there, away] = [next(watchlist, "online"), next(watchlist, "offline")]
    client.signin()
    equal((await there).user_ids, [friend])
    equal((await away).user_ids, [stranger])

    const second = await signIn(friend)
    first.disconnect()
    const comes = next(watchlist, "online")
    await signIn(stranger)
    equal((await comes).user_ids, [stranger])
    const leaves = next(watchlist, "offline")
    second.disconnect()
    equal((await leaves).user_ids, [friend])
    equal([online.length, offline.length], [2, 2])
  },

  "is disconnected when its user is terminated; others are not (PC-112, PC-113)": async (world) => {
    const { signIn, open, backend } = world
    const who = fresh()
    const [signed, member] = [await signIn(who), await open(who)]
    const channel = await subscribe(member, fresh("presence-"))
    const [closed, ended] = [next(signed.connection, "error"), next(signed.connection, "disconnected")]
    await backend.terminate(who)
    await ended
    const error = await closed
    equal((error.error ?? error).data.code, 4009)
    const last = next(channel, "last")
    await backend.trigger(channel.name, "last", {})
    await last
    equal([signed.connection.state, member.connection.state], ["disconnected", "connected"])
  },

  "is served by WebSocket alone, and not troubled by that (PC-190)": async ({ open, server, backend }) => {
    const app = `/pusher/app/${server.key}`
    for (const path of [`${app}/123/abcdefgh/xhr_streaming?protocol=7`, `${app}/123/abcdefgh/xhr?protocol=7`]) {
      equal([path, await backend.status("POST", path)], [path, 404])
    }
    equal(await backend.status("GET", "/pusher/info"), 404)
    const fallbacks = { httpHost: server.host, httpPort: server.port, enabledTransports: undefined }
    const { connection } = await open(fresh(), fallbacks)
    equal(connection.connection.transport.name, "ws")
  },

  "comes back by itself after the server was restarted (PC-130)": async ({ open, server, backend }) => {
    if (!server.isRestarted) skip("nobody restarts the server (GUEST_RESTART)")
    const client = await open("anna")
    const [open_channel, members] = [await subscribe(client, fresh()), await subscribe(client, fresh("presence-"))]
    const patience_ms = 60_000
    const again = [open_channel, members].map((channel) =>
      next(channel, "pusher:subscription_succeeded", () => channel.name, patience_ms),
    )
    const before = client.connection.socket_id
    console.log("RESTART")
    await Promise.all(again)
    check(client.connection.socket_id !== before, "another socket id", before)
    const heard = [open_channel, members].map((channel) => next(channel, "back"))
    await backend.trigger([open_channel.name, members.name], "back", { after: "all" })
    equal(await Promise.all(heard), [{ after: "all" }, { after: "all" }])
  },
}
