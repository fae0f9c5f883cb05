"""Pysher: a Python program that listens to channels, and one that comes back after a restart by itself."""

import json
import logging
import queue

import pusher
import pysher

from steps import APP_ID, HOST, KEY, PORT, RESTART_SECONDS, RUN, SECRET, SUCCEEDED, arrival, asked_for, step

NEWS, CHAT, ROOM = (f"{kind}-{RUN}" for kind in ("news", "private", "presence"))
EVENTS = [SUCCEEDED, "pusher:subscription_error", "pusher_internal:member_added", "pusher_internal:member_removed",
          "headline", "client-typing"]

# A server that stops makes Pysher write a line of its own for each attempt to reach it.
logging.disable()


class Visitor:
    """One Pysher connection that joins its channels whenever it is connected; all it hears lands in its inbox."""

    def __init__(self, name, *channels, secret=SECRET):
        self.inbox = queue.Queue()
        self.channels = channels
        member = {"user_id": name, "user_info": {"name": name}}
        self.client = pysher.Pusher(KEY, secret=secret, user_data=member, custom_host=HOST, port=PORT, secure=False,
                                    reconnect_interval=1)
        self.client.connection.bind("pusher:connection_established", self.join)
        self.client.connection.bind("pusher:error", lambda error: self.inbox.put(("error", error["code"])))
        self.client.connect()

    def join(self, _):
        self.inbox.put("connected")
        for name in self.channels:
            channel = self.client.subscribe(name)
            for event in EVENTS:
                channel.bind(event, self.keep, name, event)

    def keep(self, data, channel, event):
        self.inbox.put((channel, event, json.loads(data)))

    def hears(self):
        return arrival(self.inbox)


def roster(*names):
    """What a presence channel with these members tells somebody who joins it."""
    return {"presence": {"ids": list(names), "hash": {name: {"name": name} for name in names}, "count": len(names)}}


def presence(ada):
    bob = Visitor("bob", CHAT, ROOM)
    step("somebody else connects", "connected", bob.hears)
    step("and joins the private channel", (CHAT, SUCCEEDED, {}), bob.hears)
    step("and the presence channel, and sees both", (ROOM, SUCCEEDED, roster("ada", "bob")), bob.hears)
    added = {"user_id": "bob", "user_info": {"name": "bob"}}
    step("who was there sees who came", (ROOM, "pusher_internal:member_added", added), ada.hears)
    bob.client.channel(CHAT).trigger("client-typing", {"at": 3})
    step("a client event arrives", (CHAT, "client-typing", {"at": 3}), ada.hears)
    bob.client.disconnect(timeout=0)
    step("and who left", (ROOM, "pusher_internal:member_removed", {"user_id": "bob"}), ada.hears)


def refusal():
    stranger = Visitor("eve", CHAT, secret="wrong")
    step("a stranger connects", "connected", stranger.hears)
    step("and is refused, without a code that closes", ("error", None), stranger.hears)
    channel, event, error = stranger.hears()
    step("and the channel hears of it", (CHAT, "pusher:subscription_error", "AuthError", 401),
         lambda: (channel, event, error["type"], error["status"]))
    stranger.client.disconnect(timeout=0)


def restart(ada, backend):
    print("RESTART", flush=True)
    step("the connection is back after a restart", "connected", lambda: arrival(ada.inbox, RESTART_SECONDS))
    for channel, told in ((NEWS, {}), (CHAT, {}), (ROOM, roster("ada"))):
        step(f"and has joined {channel.split('-')[0]} again", (channel, SUCCEEDED, told), ada.hears)
    backend.trigger(NEWS, "headline", {"text": "back"})
    step("and hears what is published", (NEWS, "headline", {"text": "back"}), ada.hears)


def main():
    backend = pusher.Pusher(APP_ID, KEY, SECRET, False, HOST, PORT)
    ada = Visitor("ada", NEWS, CHAT, ROOM)
    step("a client connects", "connected", ada.hears)
    step("joins a public channel", (NEWS, SUCCEEDED, {}), ada.hears)
    step("a private channel", (CHAT, SUCCEEDED, {}), ada.hears)
    step("and a presence channel, and sees itself", (ROOM, SUCCEEDED, roster("ada")), ada.hears)
    backend.trigger(NEWS, "headline", {"text": "hello ☃"})
    step("an event of a public channel arrives", (NEWS, "headline", {"text": "hello ☃"}), ada.hears)
    backend.trigger(CHAT, "headline", 2)
    step("and one of a private channel", (CHAT, "headline", 2), ada.hears)
    presence(ada)
    refusal()
    if asked_for("GUEST_RESTART", "a restart of the server"):
        restart(ada, backend)
    ada.client.disconnect(timeout=0)


main()
