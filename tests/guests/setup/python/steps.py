"""What every guest in Python shares: the server it visits, steps that tell how they went, and waits that end."""

import os
import queue
import sys

HOST = os.environ.get("PUSHER_HOST", "127.0.0.1")
PORT = int(os.environ.get("PUSHER_PORT", "8001"))
APP_ID = os.environ.get("PUSHER_APP_ID", "1")
KEY = os.environ.get("PUSHER_APP_KEY", "demo")
SECRET = os.environ.get("PUSHER_APP_SECRET", "demo-secret")

# How long anything may take, and how long a client may take to find a restarted server again.
PATIENCE_SECONDS = 10
RESTART_SECONDS = 60

# Part of every name that a guest uses, so that two visits to one server do not meet.
RUN = os.urandom(4).hex()

SUCCEEDED = "pusher_internal:subscription_succeeded"


def step(name, expected, look):
    """Tells whether `look()` gives what is expected, which may be a kind of exception, and ends the guest if not."""
    try:
        got = look()
    except Exception as error:
        got = error
    if not (isinstance(got, expected) if isinstance(expected, type) else got == expected):
        print(f"FAIL {name}: expected {expected!r}, got {got!r}", flush=True)
        sys.exit(1)
    print(f"ok   {name}", flush=True)


def asked_for(variable, name):
    """What a variable of the environment asks for; a step that nobody asks for is left out aloud."""
    value = os.environ.get(variable)
    if not value:
        print(f"skip {name}: {variable} is not set", flush=True)
    return value


def arrival(inbox, seconds=PATIENCE_SECONDS):
    """The next thing in an inbox, or words that say there was none."""
    try:
        return inbox.get(timeout=seconds)
    except queue.Empty:
        return f"nothing within {seconds} s"
