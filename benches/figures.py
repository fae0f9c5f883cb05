#!/usr/bin/env python3
"""Measures what docs/performance.md tells, and draws its chart.

    cargo build --release
    (cd benches/peers && npm ci)             # for the comparison with uWebSockets.js; left out where it is missing
    benches/figures.py measure               # some five minutes; a machine that does nothing else; with openssl for TLS
    benches/figures.py chart                 # draws docs/performance.svg from the figures

The figures are kept in benches/figures.json. Every one is the median of rounds that take turns with what it is compared
with; of those with a floor `gusher bench` takes the medians itself.
"""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GUSHER = os.environ.get("GUSHER", str(ROOT / "target/release/gusher"))
PEER = ROOT / "benches/peers"
FIGURES = ROOT / "benches/figures.json"
CHART = ROOT / "docs/performance.svg"
PEER_PORT = 6111
ROUNDS = 3
# How the server of a bus is started, what it says when it is there, and where that is.
BUSES = {
    "nats": (["nats-server", "-a", "127.0.0.1", "-p", "4333"], "Server is ready", "nats://127.0.0.1:4333"),
    "redis": (["redis-server", "--port", "6399", "--save", ""], "Ready to accept", "redis://127.0.0.1:6399"),
}
# Debian puts servers where not every path leads.
os.environ["PATH"] += ":/usr/sbin"


class Process:
    """A server; it ends with the block."""

    def __init__(self, command, ready, cwd=None):
        began = time.monotonic()
        self.process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            if ready in line:
                break
        self.start_ms = (time.monotonic() - began) * 1000
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def rss_bytes(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def gusher(**settings):
    variables = [f"GUSHER_{name.upper()}={value}" for name, value in settings.items()]
    command = ["env", "GUSHER_ENVIRONMENT=PRODUCTION", *variables, GUSHER, "start", "--dev"]
    # Of all that a trial run tells, this comes when its app is there.
    return Process(command, "PUSHER_SCHEME")


def bench(server, scenario, *arguments, port=8001):
    command = [GUSHER, "bench", scenario, *map(str, arguments), "--json"]
    if server:
        command += ["--pid", str(server.pid), "--port", str(port)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "GUSHER_PASSWORD": "password"})
    return json.loads(told.stdout.strip().splitlines()[-1])


def compared(scenario, *arguments):
    """Gusher's figures and those of the bare server, round by round in turn."""
    ours, theirs = [], []
    with gusher() as node, Process(["node", "uws.js", str(PEER_PORT)], "listening", cwd=PEER) as peer:
        for _ in range(ROUNDS):
            ours.append(bench(node, scenario, *arguments))
            theirs.append(bench(peer, scenario, *arguments, port=PEER_PORT))
    return {"server": medians(ours), "peer": medians(theirs)}


def medians(rounds):
    numbers = [name for name, value in rounds[0].items() if isinstance(value, (int, float))]
    return {name: statistics.median(one[name] for one in rounds if name in one) for name in numbers}


def wait_until(is_so):
    while not is_so():
        time.sleep(0.005)


def measure_closing():
    """10,000 sockets whose client dies at once; newcomers meanwhile; and what memory stays."""
    with gusher() as node:
        bench(node, "idle", "--sockets", 1000, "--rest-seconds", 4)
        time.sleep(4)
        rss_before, before = node.rss_bytes(), node.descriptors()
        crowd = subprocess.Popen(
            [GUSHER, "bench", "idle", "--sockets", "10000", "--subscribe", "--rest-seconds", "60", "--json"],
            stdout=subprocess.DEVNULL,
        )
        wait_until(lambda: node.descriptors() >= before + 10_000)
        crowd.kill()
        began = time.monotonic()
        newcomers = bench(node, "connect", "--sockets", 300, "--subscribe")
        wait_until(lambda: node.descriptors() <= before + 5)
        seconds = time.monotonic() - began
        crowd.wait()
        time.sleep(5)
        kept = node.rss_bytes() - rss_before
    return {"seconds_at_most": seconds, "connect_p99_ms": newcomers["connect_p99_ms"], "rss_growth_bytes": kept}


def measure_pattern():
    """A push to everybody whose tag matches, among 10,000; the call from its first byte to its answer."""
    with gusher() as node:
        before = node.descriptors()
        crowd = subprocess.Popen(
            [GUSHER, "bench", "idle", "--dialect", "gusher", "--sockets", "10000", "--rest-seconds", "60", "--json"],
            stdout=subprocess.DEVNULL, env={**os.environ, "GUSHER_PASSWORD": "password"},
        )
        wait_until(lambda: node.descriptors() >= before + 10_000)
        secret = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        secret.add_password(None, "http://127.0.0.1:8002/", "account", "password")
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(secret))

        def push(pattern):
            body = urllib.parse.urlencode({"content": "x", "user_tag": pattern}).encode()
            began = time.monotonic()
            opener.open("http://127.0.0.1:8002/api/push/demo", body).read()
            return (time.monotonic() - began) * 1000

        push("^nobody$")
        plain = statistics.median(push("^nobody$") for _ in range(20))
        fresh = statistics.median(push(f"user-[0-9]*{number}x$") for number in range(20))
        repeated = statistics.median(push("user-[0-9]*7x$") for _ in range(20))
        crowd.kill()
        crowd.wait()
    return {"literal_ms": plain, "fresh_ms": fresh, "repeated_ms": repeated}


def measure_presence():
    """The same delivered with and without presence around it."""
    with gusher() as node:
        told = bench(node, "presence", "--joins", 5000, "--rate", 500, "--watchers", 50)
        half = bench(node, "presence", "--joins", 2500, "--rate", 500, "--watchers", 50)
        plain = bench(node, "fanout", "--subscribers", 50, "--rate", 1000, "--seconds", 5)
    return {"5000": told, "2500": half, "fanout": plain}


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certificates(directory):
    """An authority, and a certificate of its for 127.0.0.1 with its key: three files."""
    ca, cert, key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
    ca_key, names, new = directory / "ca-key.pem", directory / "names", ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("req", "-x509", *new, "-keyout", ca_key, "-out", ca, "-subj", "/CN=figures", "-days", 2)
    openssl("req", *new, "-keyout", key, "-out", directory / "request", "-subj", "/CN=127.0.0.1")
    openssl("x509", "-req", "-in", directory / "request", "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
            "-extfile", names, "-out", cert, "-days", 2)
    return ca, cert, key


def over_tls(scenario, *arguments, rounds=ROUNDS):
    """Gusher's figures without TLS and with it, round by round in turn, each with a new server."""
    plain, tls = [], []
    with tempfile.TemporaryDirectory() as directory:
        ca, cert, key = certificates(Path(directory))
        for _ in range(rounds):
            with gusher() as node:
                plain.append(bench(node, scenario, *arguments))
            with gusher(tls_cert_file=cert, tls_key_file=key) as node:
                tls.append(bench(node, scenario, *arguments, "--tls", "--ca", ca))
    return {"plain": medians(plain), "tls": medians(tls)}


def over_nodes(kind):
    """The same published to one node alone, and to one of two while all subscribers are on the other; and the bus alone."""
    command, ready, url = BUSES[kind]

    def node(port):
        return gusher(bus=kind, bus_url=url, listen=f"127.0.0.1:{port}", api_listen=f"127.0.0.1:{port + 1}")

    figures = {}
    with Process(command, ready) as bus, gusher() as alone, node(8101) as here, node(8201) as there:
        there_too = ("--publish-to", "127.0.0.1:8201", "--pid", there.pid)
        for name, plan in {
            "publish": ("publish", "--connections", 8, "--seconds", 3),
            "fanout": ("fanout", "--subscribers", 100, "--rate", 200, "--seconds", 3),
        }.items():
            one, two = [], []
            for _ in range(ROUNDS):
                one.append(bench(alone, *plan))
                two.append(bench(here, *plan, *there_too, port=8101))
            figures[name] = {"one": medians(one), "two": medians(two)}
        told = [json.loads(subprocess.run([GUSHER, "bench", "bus", url, "--pid", str(bus.pid), "--json"],
                                          stdout=subprocess.PIPE, text=True, check=True).stdout) for _ in range(ROUNDS)]
        figures["bus alone"] = medians(told)
    return figures


def measure_start():
    times = []
    for _ in range(5):
        with gusher() as node:
            times.append(node.start_ms)
    return {"start_ms": statistics.median(times), "binary_bytes": os.path.getsize(GUSHER)}


def measure():
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    chosen = sys.argv[2:]

    def figure(name, taken):
        if chosen and name not in chosen:
            return
        print(name, file=sys.stderr)
        figures[name] = taken()
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")

    def with_floor(*arguments, **settings):
        with gusher(**settings) as node:
            return bench(node, *arguments, "--floor", "send", "--rounds", ROUNDS)

    def alone(*arguments):
        with gusher() as node:
            return bench(node, *arguments)

    # First: with some 14,000 ports of the client still remembered from before, the kernel searches long for the next.
    figure("connect", lambda: alone("connect", "--sockets", 10_000, "--subscribe"))
    for way in ("send", "uring"):
        steady = ("fanout", "--subscribers", 1000, "--rate", 30, "--seconds", 6)
        figure(f"fanout 1000, {way}", lambda: with_floor(*steady, node_send=way))
    figure("fanout 10000", lambda: with_floor("fanout", "--subscribers", 10_000, "--rate", 2, "--seconds", 8))
    figure("burst", lambda: with_floor("fanout", "--subscribers", 1000, "--burst", 2000))
    figure("mixed", lambda: alone("mixed", "--subscribers", 10_000, "--rate", 2, "--seconds", 8))
    figure("idle", lambda: alone("idle", "--sockets", 15_000, "--subscribe"))
    figure("idle, TLS", lambda: over_tls("idle", "--sockets", 10_000, "--subscribe", rounds=1))
    figure("connect, TLS", lambda: over_tls("connect", "--sockets", 3000, "--subscribe"))
    figure("fanout 1000, TLS", lambda: over_tls("fanout", "--subscribers", 1000, "--rate", 30, "--seconds", 4))
    figure("burst, TLS", lambda: over_tls("fanout", "--subscribers", 1000, "--burst", 1000))
    figure("slow", lambda: alone("slow", "--stalled", 10, "--subscribers", 100, "--seconds", 8))
    paced = ("--subscribers", 100, "--rate", 200, "--data-bytes", 4096, "--seconds", 8)
    figure("nobody slow", lambda: alone("fanout", *paced))
    figure("presence", measure_presence)
    figure("closing", measure_closing)
    figure("pattern", measure_pattern)
    figure("start", measure_start)
    for kind in BUSES:
        figure(f"two nodes, {kind}", lambda: over_nodes(kind))
    if (PEER / "node_modules").exists():
        figure("publish", lambda: compared("publish", "--connections", 8, "--seconds", 4))
        figure("multi", lambda: compared("multi", "--channels", 100, "--subscribers", 10, "--rate", 1000, "--seconds", 4))
        figure("fanout beside a peer", lambda: compared("fanout", "--subscribers", 1000, "--rate", 30, "--seconds", 4))


def chart():
    """Bars of processor time per delivery as a multiple of the floor's: what a bar has beyond 1 is the server's own."""
    figures = json.loads(FIGURES.read_text())
    names = {
        "fanout 1000, send": "1,000 subscribers, 30/s",
        "fanout 1000, uring": "the same through io_uring",
        "fanout 10000": "10,000 subscribers, 2/s",
        "burst": "1,000 subscribers, as fast as they come",
    }
    bars = [(label, figures[name]["ratio"]["cpu_us_per_delivery"]) for name, label in names.items() if name in figures]
    unit, left, row = 220, 300, 34
    height = 70 + row * len(bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" font-family="sans-serif" font-size="14">',
        f'<rect width="760" height="{height}" fill="#fff"/>',
        '<text x="10" y="24" font-weight="bold">Processor time per delivery, as a multiple of one bare send()</text>',
    ]
    for place, (label, ratio) in enumerate(bars):
        top = 44 + row * place
        lines += [
            f'<text x="{left - 10}" y="{top + 16}" text-anchor="end">{label}</text>',
            f'<rect x="{left}" y="{top}" width="{max(ratio * unit, 1):.1f}" height="22" fill="#2a7ab0"/>',
            f'<text x="{left + ratio * unit + 8:.1f}" y="{top + 16}">{ratio:.2f}</text>',
        ]
    floor = left + unit
    lines += [
        f'<line x1="{floor}" y1="36" x2="{floor}" y2="{height - 26}" stroke="#c33" stroke-dasharray="4 3"/>',
        f'<text x="{floor}" y="{height - 8}" text-anchor="middle" fill="#c33">the kernel alone</text>',
        "</svg>",
    ]
    CHART.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    {"measure": measure, "chart": chart}[sys.argv[1]]()
