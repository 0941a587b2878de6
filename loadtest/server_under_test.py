"""The server under test: use a running one, or start one and stop it afterwards; monitor it from a separate process."""

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
REACH_SECONDS = 5.0  # time to reach a server that is already running
STOP_SECONDS = 30.0


class ServerError(Exception):
    """The server cannot be reached or started; the message is one line."""


@contextlib.contextmanager
def served(url: str | None, log: Path, workers: int | None = None) -> Iterator[str]:
    """The URL of a ready server: the one at `url`, or one that is started here and stopped at the end of the block."""
    if url is not None:
        wait_until_ready(url, REACH_SECONDS)
        yield url
        return
    port = free_port()
    settings = {"BENTOML_DO_NOT_TRACK": "True", "TABSERVE_WORKERS": str(workers or spare_cores())}
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        # A separate session: Ctrl+C interrupts only this process, which then stops the server.
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
    """The number of workers: one per core, with one core left for the load generator."""
    return max(1, (os.cpu_count() or 1) - 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(
    url: str, seconds: float, process: "subprocess.Popen[bytes] | None" = None, log: Path | None = None
) -> None:
    """Wait until /readyz returns 200. Raises ServerError."""
    reason = "no response"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise ServerError(f"the server did not start: {last_error(log)}")
        try:
            status = httpx.get(f"{url}/readyz", timeout=2).status_code
            if status == 200:
                return
            reason = f"/readyz returned status {status}"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
                break
        time.sleep(0.1)
    raise ServerError(f"no server is ready at {url}: {reason}")


def last_error(log: Path | None) -> str:
    """The last error in a server's log, or else its last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log else []
    written = [line.strip() for line in lines if line.strip()]
    errors = [line for line in written if '"level":"error"' in line.replace(" ", "") or "rror:" in line]
    return (errors or written or ["its log is empty"])[-1][:500]


@contextlib.contextmanager
def monitored(url: str, file: Path) -> Iterator[None]:
    """Write the server's metrics, CPU time and memory to a file every second, from a separate process.

    The block starts after the process has started, because that process takes seconds to load on a busy machine.
    """
    file.unlink(missing_ok=True)
    monitor = subprocess.Popen([sys.executable, "-m", "loadtest.server_monitor", url, str(file)], cwd=ROOT)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not file.exists() and monitor.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        yield
    finally:
        monitor.terminate()
        monitor.wait()


def observations(file: Path, since: float) -> list[dict[str, Any]]:
    """The monitored values, with times relative to `since`, a value of `time.time()`."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return [{**line, "time": line["time"] - since} for line in lines]
