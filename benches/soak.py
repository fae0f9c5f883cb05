#!/usr/bin/env python3
"""Ten minutes of all at once: sockets that come and go, publications, presence, webhooks, and a console that looks on.

    cargo build --release
    benches/soak.py [seconds]                # 600; GUSHER names another binary

Fails, with a line for each reason, when something was lost, told twice or in the wrong order, when the log has a warning, or
when memory has not stayed flat: what the node occupies between two rounds may grow by 2 MB from the first third to the last.
"""

import json
import http.server
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from http.cookiejar import CookieJar

from figures import GUSHER, bench, gusher

PRIVATE = "http://127.0.0.1:8002"
GROWTH_MAX = 2_000_000
OTHER = {"app_key": "other", "auth_account": "o", "auth_password": "o", "app_id": "2", "app_secret": "other-secret-1234"}
TO_OTHER = ("--app-id", "2", "--key", "other", "--secret", OTHER["app_secret"])
# Which of two events of a webhook opens, and which closes what it tells of.
OPENS = {"channel_occupied": True, "channel_vacated": False, "member_added": True, "member_removed": False}


class Receiver(http.server.ThreadingHTTPServer):
    """Takes webhooks, and notes in which order each channel and each member came and went."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.told = defaultdict(list)
        self.events = Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def note(self, body):
        with self.lock:
            for event in json.loads(body)["events"]:
                self.events[event["name"]] += 1
                self.told[event["channel"], event.get("user_id")].append(OPENS[event["name"]])

    def faults(self):
        with self.lock:
            for matter, story in self.told.items():
                if any(a == b for a, b in zip(story, story[1:])) or not story[0]:
                    yield f"webhooks: {matter} was told as {story[:20]}"
                elif story[-1]:
                    yield f"webhooks: {matter} never ended"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.note(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Console:
    """Somebody who has the overview and the feed of the app open."""

    def __init__(self):
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        signing_in = json.dumps({"account": "account", "password": "password"}).encode()
        headers = {"Content-Type": "application/json"}
        self.opener.open(urllib.request.Request(f"{PRIVATE}/console/api/session", signing_in, headers)).read()
        self.kinds = Counter()
        self.is_open = True
        threading.Thread(target=self.look_on, daemon=True).start()
        threading.Thread(target=self.poll, daemon=True).start()

    def look_on(self):
        while self.is_open:
            # A feed may end, as a browser's would, and is opened anew.
            with self.opener.open(f"{PRIVATE}/console/api/apps/demo/feed") as feed:
                for line in feed:
                    if line.startswith(b"data:"):
                        item = json.loads(line[5:])
                        self.kinds[item.get("kind", "skipped")] += item.get("count", 1)

    def poll(self):
        while self.is_open:
            self.overview = self.get("overview")
            time.sleep(2)

    def get(self, path):
        with self.opener.open(f"{PRIVATE}/console/api/{path}") as answer:
            return json.load(answer)


def call(path, body, method):
    """A call of the private API."""
    secret = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    secret.add_password(None, PRIVATE, "account", "password")
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(secret))
    opener.open(urllib.request.Request(PRIVATE + path, body.encode(), method=method)).read()


def configure(receiver):
    """The first app tells all its webhooks to the receiver; another one is there for what would share a channel with it."""
    call("/api/register", urllib.parse.urlencode(OTHER), "POST")
    webhook = {"url": f"http://127.0.0.1:{receiver.server_port}/", "events": list(OPENS)}
    settings = {"webhooks": [webhook], "webhook_grace": 1, "max_presence_members": 1000}
    call("/api/demo/settings", json.dumps(settings), "PATCH")


def at_once(node, faults):
    """One round. Each scenario runs beside the others and says what it has lost."""
    scenarios = [
        ("churn", "--seconds", 15, "--in-flight", 8, *TO_OTHER),
        ("fanout", "--subscribers", 300, "--rate", 20, "--seconds", 15),
        ("presence", "--watchers", 20, "--joins", 300),
        ("fanout", "--dialect", "gusher", "--subscribers", 100, "--rate", 10, "--seconds", 15),
    ]

    def run(scenario, totals):
        figures = bench(node, *scenario)
        for name in ("lost", "disordered", "closed", "refused", "refused_calls"):
            if figures.get(name):
                faults.append(f"{scenario[0]}: {name} {figures[name]}")
        for name in ("deliveries", "messages", "sockets", "joins"):
            totals[name] += figures.get(name, 0)

    totals = Counter()
    threads = [threading.Thread(target=run, args=(scenario, totals)) for scenario in scenarios]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return totals


def settled(console, receiver):
    """Waits until the sockets are gone and all webhooks are told."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        overview = console.get("overview")
        sockets = sum(overview["connections"][name] for name in ("gusher", "cluster", "pusher"))
        if sockets == 0 and overview["webhooks"]["waiting"] == 0 and not list(receiver.faults()):
            return
        time.sleep(0.5)


def grown(resident):
    """From the first third, without the round that warms up, to the last."""
    resident = resident[1:]
    third = max(1, len(resident) // 3)
    return int(statistics.median(resident[-third:]) - statistics.median(resident[:third]))


def soak(seconds):
    faults, resident, totals = [], [], Counter()
    receiver = Receiver()
    with gusher() as node:
        log = []
        threading.Thread(target=lambda: log.extend(node.process.stdout), daemon=True).start()
        configure(receiver)
        console = Console()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends or len(resident) < 4:
            totals += at_once(node, faults)
            settled(console, receiver)
            resident.append(node.rss_bytes())
            print(f"{resident[-1] / 1e6:7.2f} MB  {dict(totals)}", file=sys.stderr)
        webhooks = console.get("overview")["webhooks"]
        console.is_open = False
    faults += receiver.faults()
    faults += [f"webhooks: {name} {webhooks[name]}" for name in ("given_up", "dropped", "failed_attempts") if webhooks[name]]
    faults += [f"log: {line.strip()}" for line in log if " WARN " in line or " ERROR " in line]
    growth = grown(resident)
    if growth > GROWTH_MAX:
        faults.append(f"memory: grown by {growth} bytes")
    missing = {"connected", "published", "subscribed", "webhook"} - set(console.kinds)
    faults += [f"console: saw nothing {kind}" for kind in sorted(missing)]
    return {
        "seconds": seconds, "rounds": len(resident), **totals, "webhooks": dict(receiver.events),
        "feed": dict(console.kinds), "rss_bytes": resident, "rss_growth_bytes": growth, "faults": faults,
    }


if __name__ == "__main__":
    subprocess.run([GUSHER, "--version"], check=True, stdout=subprocess.DEVNULL)
    told = soak(int(sys.argv[1]) if len(sys.argv) > 1 else 600)
    print(json.dumps(told))
    sys.exit(1 if told["faults"] else 0)
