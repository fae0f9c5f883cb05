"""asyncpusher: an asyncio program that listens to channels, and is back after a restart by itself."""

import asyncio
import logging

import asyncpusher
import pusher

from steps import (APP_ID, HOST, KEY, PATIENCE_SECONDS, PORT, RESTART_SECONDS, RUN, SECRET, SUCCEEDED, asked_for,
                   step)

NEWS, CHAT = f"news-{RUN}", f"private-{RUN}"

# Attempts to reach a server that is away are no news here.
logging.disable()


class Visitor:
    """One asyncpusher connection; all that its channels hear lands in its inbox."""

    def __init__(self, secret=SECRET):
        self.inbox = asyncio.Queue()
        self.signer = pusher.Pusher(APP_ID, KEY, secret)
        self.client = asyncpusher.Pusher(KEY, custom_host=HOST, custom_port=PORT, secure=False, auto_sub=True,
                                         channel_authenticator=self.authenticate)

    async def authenticate(self, asked):
        return self.signer.authenticate(asked["channel_name"], asked["socket_id"])

    async def join(self, name):
        channel = await self.client.subscribe(name)
        for event in (SUCCEEDED, "pusher:subscription_error", "headline", "client-typing"):
            channel.bind(event, self.keep(name, event))
        return channel

    def keep(self, channel, event):
        async def kept(data):
            await self.inbox.put((channel, event, data))
        return kept

    async def hears(self, seconds=PATIENCE_SECONDS):
        try:
            return await asyncio.wait_for(self.inbox.get(), seconds)
        except TimeoutError:
            return f"nothing within {seconds} s"


async def told(name, expected, look):
    """A step whose look takes time."""
    got = await look
    step(name, expected, lambda: got)


async def connect(visitor):
    """Whether it is connected in time."""
    await asyncio.wait_for(visitor.client.connect(), PATIENCE_SECONDS)
    return visitor.client.connection.is_connected()


async def client_events(ada):
    bob = Visitor()
    await told("somebody else connects", True, connect(bob))
    channel = await bob.join(CHAT)
    await told("and joins the private channel", (CHAT, SUCCEEDED, {}), bob.hears())
    await channel.trigger({"event": "client-typing", "data": {"at": 3}})
    await told("a client event arrives", (CHAT, "client-typing", {"at": 3}), ada.hears())
    await bob.client.disconnect()


async def refusal():
    stranger = Visitor(secret="wrong")
    await told("a stranger connects", True, connect(stranger))
    await stranger.join(CHAT)
    channel, event, error = await stranger.hears()
    step("and the channel hears of the refusal", (CHAT, "pusher:subscription_error", "AuthError", 401),
         lambda: (channel, event, error["type"], error["status"]))
    await stranger.client.disconnect()


async def restart(ada, backend):
    print("RESTART", flush=True)
    await told("the public channel is joined again after a restart", (NEWS, SUCCEEDED, {}), ada.hears(RESTART_SECONDS))
    await told("and the private one", (CHAT, SUCCEEDED, {}), ada.hears())
    backend.trigger(CHAT, "headline", {"text": "back"})
    await told("which hears what is published", (CHAT, "headline", {"text": "back"}), ada.hears())


async def main():
    backend = pusher.Pusher(APP_ID, KEY, SECRET, False, HOST, PORT)
    ada = Visitor()
    await told("a client connects", True, connect(ada))
    await ada.join(NEWS)
    await told("joins a public channel", (NEWS, SUCCEEDED, {}), ada.hears())
    await ada.join(CHAT)
    await told("and a private channel", (CHAT, SUCCEEDED, {}), ada.hears())
    backend.trigger(NEWS, "headline", {"text": "hello ☃"})
    await told("an event of the public channel arrives", (NEWS, "headline", {"text": "hello ☃"}), ada.hears())
    backend.trigger(CHAT, "headline", 2)
    await told("and one of the private channel", (CHAT, "headline", 2), ada.hears())
    await client_events(ada)
    await refusal()
    if asked_for("GUEST_RESTART", "a restart of the server"):
        await restart(ada, backend)
    await ada.client.disconnect()


asyncio.run(main())
