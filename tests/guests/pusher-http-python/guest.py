"""PyPI pusher: what a backend in Python publishes, asks, signs and is told (PC-174, PC-187)."""

import base64
import http.server
import json
import queue
import threading

import nacl.secret
import pusher
import websocket

from steps import APP_ID, HOST, KEY, PATIENCE_SECONDS, PORT, RUN, SECRET, SUCCEEDED, arrival, asked_for, step

KINDS = ("news", "private", "presence", "private-encrypted", "cache")
NEWS, CHAT, ROOM, VAULT, MEMO = (f"{kind}-{RUN}" for kind in KINDS)
ADA = f"ada-{RUN}"


def backend(secret=SECRET):
    master_key = base64.b64encode(bytes(32)).decode()
    return pusher.Pusher(APP_ID, KEY, secret, False, HOST, PORT, encryption_master_key_base64=master_key)


class Socket:
    """One browser: it says something, and looks at what comes, message by message."""

    def __init__(self):
        self.wire = websocket.create_connection(f"ws://{HOST}:{PORT}/app/{KEY}?protocol=7", timeout=PATIENCE_SECONDS)
        self.id = json.loads(self.message()["data"])["socket_id"]

    def say(self, event, data, **more):
        self.wire.send(json.dumps({"event": event, "data": data, **more}))

    def subscribe(self, channel, signed={}):
        self.say("pusher:subscribe", {"channel": channel, **signed})
        return self.message()["event"]

    def message(self):
        while True:
            message = json.loads(self.wire.recv())
            if message["event"] != "pusher_internal:subscription_count":
                return message

    def event(self):
        message = self.message()
        return message["channel"], message["event"], json.loads(message["data"])

    def close_code(self):
        while True:
            opcode, payload = self.wire.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(payload[:2], "big")


def listen_for_webhooks(client, address, inbox):
    """Puts every event of every webhook that the library finds valid into the inbox, and `None` for one it does not."""

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            webhook = client.validate_webhook(self.headers["X-Pusher-Key"], self.headers["X-Pusher-Signature"], body)
            for event in webhook["events"] if webhook else [None]:
                inbox.put(event)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    host, port = address.rsplit(":", 1)
    server = http.server.ThreadingHTTPServer((host, int(port)), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def missing(inbox, expected):
    """What of the expected events did not come; an invalid webhook ends the wait."""
    expected = list(expected)
    while expected:
        event = arrival(inbox)
        if not isinstance(event, dict):
            return event, expected
        if event in expected:
            expected.remove(event)
    return expected


def subscriptions(client, ada, bob):
    step("a public channel is joined", SUCCEEDED, lambda: ada.subscribe(NEWS))
    step("a signed private channel is joined", SUCCEEDED,
         lambda: ada.subscribe(CHAT, client.authenticate(CHAT, ada.id)))
    step("another one joins it too", SUCCEEDED, lambda: bob.subscribe(CHAT, client.authenticate(CHAT, bob.id)))
    member = {"user_id": ADA, "user_info": {"name": "Ada"}}
    step("a signed presence channel is joined", SUCCEEDED,
         lambda: ada.subscribe(ROOM, client.authenticate(ROOM, ada.id, member)))
    step("a signature for another socket is refused", "pusher:error",
         lambda: bob.subscribe(ROOM, client.authenticate(ROOM, ada.id, member)))
    step("and the channel hears of it", "pusher:subscription_error", lambda: bob.message()["event"])


def publications(client, ada, bob):
    hello = {"text": "hello ☃"}
    step("an event is taken", {}, lambda: client.trigger(NEWS, "headline", hello))
    step("and arrives", (NEWS, "headline", hello), ada.event)
    step("an event for two channels is taken", {}, lambda: client.trigger([NEWS, CHAT], "both", 1))
    step("and arrives on the one", (NEWS, "both", 1), ada.event)
    step("and on the other", (CHAT, "both", 1), ada.event)
    step("for everybody", (CHAT, "both", 1), bob.event)
    step("an event that leaves one socket out is taken", {}, lambda: client.trigger(CHAT, "others", 2, ada.id))
    step("and arrives at the others", (CHAT, "others", 2), bob.event)
    batch = [{"channel": NEWS, "name": "first", "data": 3}, {"channel": CHAT, "name": "second", "data": 4}]
    step("a batch is taken", {}, lambda: client.trigger_batch(batch))
    # Each channel has an order; among channels there is none.
    heard = {(CHAT, "second", 4), (NEWS, "first", 3)}
    step("and arrives, and what left this socket out does not", heard, lambda: {ada.event(), ada.event()})
    step("for everybody", (CHAT, "second", 4), bob.event)
    ada.say("client-typing", {"at": 5}, channel=CHAT)
    step("a client event arrives", (CHAT, "client-typing", {"at": 5}), bob.event)


def encryption(client, ada):
    signed = client.authenticate(VAULT, ada.id)
    box = nacl.secret.SecretBox(base64.b64decode(signed.pop("shared_secret")))
    step("an encrypted channel is joined", SUCCEEDED, lambda: ada.subscribe(VAULT, signed))
    step("an encrypted event is taken", {}, lambda: client.trigger(VAULT, "secret", {"pin": 1234}))

    def opened():
        channel, event, sealed = ada.event()
        return channel, event, box.decrypt(*(base64.b64decode(sealed[part]) for part in ("ciphertext", "nonce")))

    step("and opens with the channel's key", (VAULT, "secret", b'{"pin": 1234}'), opened)


def queries(client):
    step("the list of channels has them", True, lambda: {NEWS, CHAT, ROOM} <= set(client.channels_info()["channels"]))
    step("a prefix chooses among them", {"channels": {NEWS: {}}}, lambda: client.channels_info(NEWS))
    step("with how many users each has", {"channels": {ROOM: {"user_count": 1}}},
         lambda: client.channels_info(ROOM, ["user_count"]))
    step("a channel tells its subscriptions", {"occupied": True, "subscription_count": 2},
         lambda: client.channel_info(CHAT, ["subscription_count"]))
    step("and its users", {"occupied": True, "user_count": 1}, lambda: client.channel_info(ROOM, ["user_count"]))
    step("an empty channel is not occupied", {"occupied": False}, lambda: client.channel_info(f"nobody-{RUN}"))
    step("the users of a presence channel are named", {"users": [{"id": ADA}]}, lambda: client.users_info(ROOM))
    step("a public channel has no users", pusher.errors.PusherBadRequest, lambda: client.users_info(NEWS))


def refusals(client):
    step("a wrong secret is refused", pusher.errors.PusherBadAuth, lambda: backend("wrong").trigger(NEWS, "x", 1))
    step("an event of 10,241 bytes is too much", pusher.errors.PusherBadStatus,
         lambda: client.trigger(NEWS, "x", "x" * 10_241))


def users(client, ada):
    def sign_in():
        ada.say("pusher:signin", client.authenticate_user(ada.id, {"id": ADA}))
        return ada.message()["event"]

    step("a user signs in", "pusher:signin_success", sign_in)
    step("and listens for what is meant for them", SUCCEEDED, lambda: ada.subscribe(f"#server-to-user-{ADA}"))
    step("an event for a user is taken", {}, lambda: client.send_to_user(ADA, "ping", 6))
    step("and arrives", (f"#server-to-user-{ADA}", "ping", 6), ada.event)
    step("a user's connections are terminated", {}, lambda: client.terminate_user_connections(ADA))
    step("and close with 4009", 4009, ada.close_code)


def webhooks(inbox, ada, bob):
    bob.subscribe(MEMO)
    bob.wire.close()
    typing = {"event": "client-typing", "data": '{"at":5}', "socket_id": ada.id}
    expected = [{"name": "client_event", "channel": CHAT, **typing}, {"name": "cache_miss", "channel": MEMO}]
    expected += [{"name": name, "channel": channel} for name in ("channel_occupied", "channel_vacated")
                 for channel in (NEWS, CHAT, ROOM, VAULT, MEMO)]
    expected += [{"name": name, "channel": ROOM, "user_id": ADA} for name in ("member_added", "member_removed")]
    expected += [{"name": "subscription_count", "channel": CHAT, "subscription_count": 2}]
    step("the webhooks are valid and tell all that happened", [], lambda: missing(inbox, expected))


def main():
    client, inbox, address = backend(), queue.Queue(), asked_for("GUEST_WEBHOOKS", "webhooks")
    if address:
        listen_for_webhooks(client, address, inbox)
    ada, bob = Socket(), Socket()
    subscriptions(client, ada, bob)
    publications(client, ada, bob)
    encryption(client, ada)
    queries(client)
    refusals(client)
    users(client, ada)
    if address:
        webhooks(inbox, ada, bob)


main()
