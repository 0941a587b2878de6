"""Closed-loop clients: wrk if it is installed, otherwise a client in Python. Each connection always has one request in
progress.
"""

import asyncio
import json
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

WRK = """
wrk.method = "POST"
%s
local file = assert(io.open("%s", "rb"))
wrk.body = file:read("*a")
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('RESULT{"requests": %%d, "seconds": %%f, "p50": %%f, "p99": %%f, "errors": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


JSON = {"content-type": "application/json"}


class LoadFigures(NamedTuple):
    """The figures of a client. Latencies in seconds; `requests` counts all responses, also errors."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def load(url: str, body: bytes, connections: int, seconds: float, headers: Mapping[str, str] = JSON) -> LoadFigures:
    """POST the body to the URL repeatedly."""
    if shutil.which("wrk"):
        return run_wrk(url, body, connections, seconds, headers)
    headers_json = json.dumps(dict(headers))
    command = [sys.executable, "-m", "loadtest.bench.clients", url, str(connections), str(seconds), headers_json]
    done = subprocess.run(command, input=body, capture_output=True, check=True)
    return LoadFigures(**json.loads(done.stdout))


def run_wrk(url: str, body: bytes, connections: int, seconds: float, headers: Mapping[str, str] = JSON) -> LoadFigures:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        script = Path(folder) / "load.lua"
        lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
        script.write_text(WRK % ("\n".join(lines), Path(folder) / "body"))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "60s"]
        done = subprocess.run([*command, "-s", str(script), url], capture_output=True, text=True, check=True)
    result = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    return LoadFigures(**json.loads(result.removeprefix("RESULT")))


class ClosedLoopConnection(asyncio.Protocol):
    """Sends the next request as soon as the last response is complete."""

    def __init__(self, request: bytes, until: float, latencies: list[float]) -> None:
        self.request, self.until, self.latencies = request, until, latencies
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.errors = 0
        self._buffer = b""
        self._sent, self._waiting = 0.0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not instances of asyncio.Transport
        self.transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent, self._waiting = time.perf_counter(), True
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or len(rest) < content_length(head):
            return
        now, self._waiting = time.perf_counter(), False
        self.latencies.append(now - self._sent)
        self.errors += not head.startswith(b"HTTP/1.1 2")
        self._buffer = b""
        if now >= self.until:
            self.transport.close()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self.errors += self._waiting or time.perf_counter() < self.until
        self.closed.set_result(None)


def tls_context(url: str) -> ssl.SSLContext | None:
    """The TLS context for an https address of a server that was started here, whose certificate is self-signed."""
    return ssl._create_unverified_context() if url.startswith("https:") else None


def content_length(head: bytes) -> int:
    """The content-length; a chunked response counts as complete with its header."""
    _, found, after = head.lower().partition(b"content-length:")
    return int(after.split(b"\r\n", 1)[0]) if found else 0


async def run_bundled_client(
    url: str, body: bytes, connections: int, seconds: float, headers: Mapping[str, str] = JSON
) -> LoadFigures:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    fields = {"host": parts.netloc, **headers, "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    request = f"POST {target} HTTP/1.1\r\n{head}\r\n".encode() + body
    latencies: list[float] = []
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    context, closes = tls_context(url), headers.get("connection") == "close"
    errors = 0

    async def connect() -> None:
        """Send requests until the time is over, over one connection or over a new one for each request."""
        nonlocal errors
        until = started if closes else started + seconds
        while True:
            _, protocol = await loop.create_connection(
                lambda: ClosedLoopConnection(request, until, latencies), host, port, ssl=context
            )
            await protocol.closed
            errors += protocol.errors
            if not closes or time.perf_counter() >= started + seconds:
                return

    await asyncio.gather(*(connect() for _ in range(connections)))
    ordered = sorted(latencies) or [0.0]
    return LoadFigures(
        requests=len(latencies),
        seconds=time.perf_counter() - started,
        p50=ordered[len(ordered) // 2],
        p99=ordered[int(len(ordered) * 0.99)],
        errors=errors,
    )


def main(arguments: Sequence[str]) -> None:
    url, connections, seconds, headers = arguments
    body = sys.stdin.buffer.read()
    work: Any = run_bundled_client(url, body, int(connections), float(seconds), json.loads(headers))
    try:
        import uvloop

        figures = uvloop.run(work)
    except ImportError:
        figures = asyncio.run(work)
    print(json.dumps(figures._asdict()))


if __name__ == "__main__":
    main(sys.argv[1:])
