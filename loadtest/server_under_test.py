"""The server under test: started here or already there, watched from a process of its own, stopped again."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 120.0
REACH_SECONDS = 5.0  # for a server that should be there already
STOP_SECONDS = 30.0


class ServerError(Exception):
    """No server can be reached or started; the message is one line."""


@contextlib.contextmanager
def served(url: str | None, log: Path, workers: int | None = None) -> Iterator[str]:
    """The URL of a server that is ready: the given one, or one that is started here and ends with the block."""
    if url is not None:
        wait_until_ready(url, REACH_SECONDS)
        yield url
        return
    port = free_port()
    settings = {"BENTOML_DO_NOT_TRACK": "True", "TABSERVE_WORKERS": str(workers or spare_cores())}
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        # Its own session: Ctrl+C is for us, who then end the server in good order.
        process = subprocess.Popen(
            command, cwd=ROOT, env={**settings, **os.environ}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", READY_SECONDS, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def spare_cores() -> int:
    """Workers that leave a core to the generator, where there is one."""
    return max(1, (os.cpu_count() or 1) - 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(
    url: str, seconds: float, process: "subprocess.Popen[bytes] | None" = None, log: Path | None = None
) -> None:
    """Return once /readyz says yes. Raises ServerError."""
    why = "no answer"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise ServerError(f"the server did not start: {last_words(log)}")
        try:
            status = httpx.get(f"{url}/readyz", timeout=2).status_code
            if status == 200:
                return
            why = f"/readyz answers {status}"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
                break
        time.sleep(0.1)
    raise ServerError(f"no server is ready at {url}: {why}")


def last_words(log: Path | None) -> str:
    """The last line that a server wrote that says something."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log else []
    said = [line.strip() for line in lines if line.strip()]
    worst = [line for line in said if '"level":"error"' in line.replace(" ", "") or "rror:" in line]
    return (worst or said or ["it wrote nothing"])[-1][:500]


@contextlib.contextmanager
def watched(url: str, file: Path) -> Iterator[None]:
    """Have a process of its own write the server's metrics, processor and memory to a file, a line a second."""
    watcher = subprocess.Popen([sys.executable, "-m", "loadtest.server_monitor", url, str(file)], cwd=ROOT)
    try:
        yield
    finally:
        watcher.terminate()
        watcher.wait()


def observations(file: Path, since: float) -> list[dict[str, Any]]:
    """What was watched, with moments in seconds since a moment of `time.time()`."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return [{**line, "moment": line["moment"] - since} for line in lines]
