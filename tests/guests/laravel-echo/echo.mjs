// What a user of Laravel Echo sees. PC numbers are those of the checklist.

import { check, equal, fresh, skip, soon } from "./report.mjs"

/** What the next call of the callback hears that `register` is given. */
function heard(what, register, patience_ms) {
  return soon(what, new Promise(register), patience_ms)
}

/** Waits until the server has said yes. */
async function subscribed(channel) {
  await heard("the subscription", (resolve) => channel.subscribed(resolve))
  return channel
}

/** Joins, and waits for who is there. */
async function join(own, name) {
  const room = own.join(name)
  const members = await heard("who is here", (resolve) => room.here(resolve))
  return { room, members }
}

export const echo = {
  "connects, and has a socket id": async ({ open }) => {
    const own = await open("anna")
    equal(own.connectionStatus(), "connected")
    check(/^\d+\.\d+$/.test(own.socketId()), "two numbers and a dot", own.socketId())
  },

  "listens on a channel, by class and by name": async ({ open, backend }) => {
    const name = fresh()
    const channel = await subscribed((await open("anna")).channel(name))
    const shipped = heard("OrderShipped", (resolve) => channel.listen("OrderShipped", resolve))
    const paid = heard(".paid", (resolve) => channel.listen(".paid", resolve))
    await backend.trigger(name, "App\\Events\\OrderShipped", { order: 7 })
    await backend.trigger(name, "paid", { order: 8 })
    equal([await shipped, await paid], [{ order: 7 }, { order: 8 }])
  },

  "listens on a private channel": async ({ open, backend }) => {
    const name = fresh()
    const channel = await subscribed((await open("anna")).private(name))
    const news = heard(".news", (resolve) => channel.listen(".news", resolve))
    await backend.trigger(`private-${name}`, "news", { text: "hello" })
    equal(await news, { text: "hello" })
  },

  "listens on an encrypted private channel": async ({ open, backend }) => {
    const name = fresh()
    const channel = await subscribed((await open("anna")).encryptedPrivate(name))
    const news = heard(".news", (resolve) => channel.listen(".news", resolve))
    await backend.trigger(`private-encrypted-${name}`, "news", { text: "only for you" })
    equal(await news, { text: "only for you" })
  },

  "learns that it was refused (PC-055)": async ({ open }) => {
    const channel = (await open("mallory")).private(fresh())
    const refusal = await heard("a refusal", (resolve) => channel.error(resolve))
    equal([refusal.type, refusal.status], ["AuthError", 401])
  },

  "joins, and sees who is here, joining and leaving (PC-083)": async ({ open }) => {
    const name = fresh()
    const { room, members } = await join(await open("anna"), name)
    equal(members, [{ name: "anna" }])
    const joining = heard("somebody joining", (resolve) => room.joining(resolve))
    const leaving = heard("somebody leaving", (resolve) => room.leaving(resolve))
    const bob = await open("bob")
    equal((await join(bob, name)).members, [{ name: "anna" }, { name: "bob" }])
    equal(await joining, { name: "bob" })
    bob.leave(name)
    equal(await leaving, { name: "bob" })
  },

  "whispers to the others (PC-083)": async ({ open }) => {
    const name = fresh()
    const { room } = await join(await open("anna"), name)
    const { room: theirs } = await join(await open("bob"), name)
    const own = []
    room.listenForWhisper("typing", (whisper) => own.push(whisper))
    const whisper = heard("a whisper", (resolve) => theirs.listenForWhisper("typing", resolve))
    room.whisper("typing", { name: "anna" })
    equal(await whisper, { name: "anna" })
    const answer = heard("an answer", (resolve) => room.listenForWhisper("done", resolve))
    theirs.whisper("done", {})
    await answer
    equal(own, [])
  },

  "whispers on a private channel (PC-083)": async ({ open }) => {
    const name = fresh()
    const mine = await subscribed((await open("anna")).private(name))
    const theirs = await subscribed((await open("bob")).private(name))
    const whisper = heard("a whisper", (resolve) => theirs.listenForWhisper("typing", resolve))
    mine.whisper("typing", { name: "anna" })
    equal(await whisper, { name: "anna" })
  },

  "is left out of what goes to the others (PC-151)": async ({ open, backend }) => {
    const name = fresh()
    const [author, reader] = [await open("anna"), await open("bob")]
    const [mine, theirs] = [await subscribed(author.channel(name)), await subscribed(reader.channel(name))]
    const own = []
    mine.listen(".edit", (edit) => own.push(edit))
    const edit = heard(".edit", (resolve) => theirs.listen(".edit", resolve))
    const last = heard(".last", (resolve) => mine.listen(".last", resolve))
    await backend.trigger(name, "edit", { line: 1 }, { socket_id: author.socketId() })
    await backend.trigger(name, "last", {})
    equal(await edit, { line: 1 })
    await last
    equal(own, [])
  },

  "hears nothing any more after it left (PC-042)": async ({ open, backend }) => {
    const [own, name, other] = [await open("anna"), fresh(), fresh()]
    const left = []
    const channel = await subscribed(own.channel(name))
    channel.listen(".news", (news) => left.push(news))
    own.leave(name)
    const still = await subscribed(own.channel(other))
    const news = heard(".news", (resolve) => still.listen(".news", resolve))
    await backend.trigger([name, other], "news", {})
    await news
    equal(left, [])
  },

  "comes back by itself after the server was restarted (PC-130)": async ({ open, server, backend }) => {
    if (!server.isRestarted) skip("nobody restarts the server (GUEST_RESTART)")
    const own = await open("anna")
    const name = fresh()
    const { room } = await join(own, name)
    const back = heard("who is here after the restart", (resolve) => room.here(resolve), 60_000)
    console.log("RESTART")
    equal(await back, [{ name: "anna" }])
    const news = heard(".news", (resolve) => room.listen(".news", resolve))
    await backend.trigger(`presence-${name}`, "news", { after: "all" })
    equal(await news, { after: "all" })
  },
}
