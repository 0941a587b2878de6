"""`python -m service`: `bentoml serve` on loopback, with three requests to paste once it is ready."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from service.server import ports

READY_SECONDS = 120.0


def main() -> int:
    """Start the server, print requests to paste, and end with it."""
    parser = argparse.ArgumentParser("python -m service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 opens it to the network (default: %(default)s)")
    parser.add_argument("--port", type=int, default=3000, help="(default: %(default)s)")
    arguments = parser.parse_args()
    if not 1 <= arguments.port <= 65535:
        print(f"error: --port {arguments.port}: expected 1 to 65535", file=sys.stderr)
        return 2
    if why := ports.conflict(arguments.host, arguments.port):
        print(f"error: {why}; choose another: make serve PORT={arguments.port + 1}", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "bentoml", "serve", "--host", arguments.host, "--port", str(arguments.port)]
    root = Path(__file__).resolve().parents[1]
    # Its own session: Ctrl+C would reach every worker at once, and none would finish what it has accepted.
    server = subprocess.Popen(
        command, cwd=root, env=os.environ | {"BENTOML_DO_NOT_TRACK": "True"}, start_new_session=True
    )
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, lambda number, frame: server.terminate())
    here = "127.0.0.1" if arguments.host in ("0.0.0.0", "::") else arguments.host
    url = f"http://{f'[{here}]' if ':' in here else here}:{arguments.port}"
    try:
        if wait_until_ready(url, server):
            print(requests_to_paste(url), flush=True)
    except (OSError, ValueError, LookupError) as error:  # it is served all the same
        print(f"note: no requests to paste, as {url}/models cannot be read: {error}", file=sys.stderr)
    return max(server.wait(), 0)  # a negative one is a signal, of the person who stops it


def wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> bool:
    """Whether /readyz says yes before the server ends or the time is over."""
    deadline = time.monotonic() + READY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.1)
    return False


def requests_to_paste(url: str) -> str:
    """Three requests for the models this server really serves: one that works, one with two wrong rows, the list."""
    models = fetch(f"{url}/models")["models"]
    name = models[0]["name"]
    row = fetch(f"{url}/models/{name}")["examples"][0]["row"]
    wrong = [{**row, next(iter(row)): []}, dict(list(row.items())[1:]) | {"typo": 1}]
    served = ", ".join(f"{model['name']}:{model['version']}" for model in models)
    return (
        f"\nServing {served} at {url}; documentation: {url}/ ; stop with Ctrl+C. Three requests to paste:\n\n"
        f"{curl(url, name, [row])}\n\n{curl(url, name, wrong)}\n\ncurl -s {url}/models\n"
    )


def curl(url: str, name: str, rows: list[dict[str, Any]]) -> str:
    body = json.dumps({"rows": rows}, ensure_ascii=False).replace("'", "'\\''")
    return f"curl -s {url}/predict/{name} -H 'Content-Type: application/json' -d '{body}'"


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main())
