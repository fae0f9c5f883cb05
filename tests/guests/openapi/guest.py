"""Schemathesis makes up calls from src/door/openapi.json, for each listener those that are there, and judges the answers."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DESCRIPTION = HERE.parents[2] / "src/door/openapi.json"
PUBLIC = f"http://{os.environ['PUSHER_HOST']}:{os.environ['PUSHER_PORT']}"
PRIVATE = os.environ["GUSHER_API"]

# Who wants a WebSocket says more than a description can; tests/sockets.rs and its like do.
ONLY_PUBLIC = ["--include-operation-id", "checkToken", "--include-operation-id", "preflightToken"]
ONLY_PRIVATE = ["--exclude-operation-id", "checkToken", "--exclude-operation-id", "preflightToken", "--exclude-tag", "Sockets"]


def judge(url, which):
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml", "run",
               DESCRIPTION, "--url", url, "--no-color", "--max-examples", os.environ.get("EXAMPLES", "25"), *which]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(HERE)}, check=False).returncode


sys.exit(judge(PUBLIC, ONLY_PUBLIC) or judge(PRIVATE, ONLY_PRIVATE))
