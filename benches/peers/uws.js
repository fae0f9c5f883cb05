// A bare uWebSockets.js server that speaks as much of Pusher's protocol as `gusher bench` needs: connect, subscribe to
// public channels, publish. It checks no key and no signature, and keeps nothing. What a server with features costs more
// than this is the price of its features.
//
//     npm ci && node uws.js [port]
const uws = require("@trufflesuite/uws-js-unofficial")

const port = Number(process.argv[2] ?? 6001)
const decoder = new TextDecoder()
let sockets = 0

const greeting = (id) => text("pusher:connection_established", JSON.stringify({ socket_id: id, activity_timeout: 120 }))
const text = (event, data, channel) => JSON.stringify({ event, channel, data })

const app = uws.App()

app.ws("/app/:key", {
    compression: uws.DISABLED,
    maxBackpressure: 16 * 1024 * 1024,
    open: (socket) => socket.send(greeting(`1.${++sockets}`)),
    message: (socket, message) => {
        const { event, data } = JSON.parse(decoder.decode(message))
        if (event === "pusher:ping") socket.send(text("pusher:pong", "{}"))
        if (event === "pusher:unsubscribe") socket.unsubscribe(data.channel)
        if (event !== "pusher:subscribe") return
        socket.subscribe(data.channel)
        socket.send(text("pusher_internal:subscription_succeeded", "{}", data.channel))
    },
})

app.post("/apps/:id/events", (response) => {
    let body = Buffer.alloc(0)
    response.onAborted(() => {})
    response.onData((part, isLast) => {
        // The part is only lent.
        body = Buffer.concat([body, Buffer.from(part)])
        if (!isLast) return
        const { name, channels, data } = JSON.parse(body)
        for (const channel of channels) app.publish(channel, text(name, data, channel))
        response.end("{}")
    })
})

app.listen("127.0.0.1", port, (socket) => {
    console.log(socket ? `listening on 127.0.0.1:${port}, process ${process.pid}` : `port ${port} is taken`)
})
