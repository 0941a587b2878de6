"""An S3 server (moto) behind a proxy that simulates failures of the network and the server."""

import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.ports import free_port

BUCKET = "bucket"
WAIT_S = 60.0
NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "content-length"}
CONDITIONS = {"if-match", "if-none-match"}


@dataclass
class Fault:
    """A failure that the proxy simulates.

    kind: `refuse` closes the connection, `cut` closes it in the middle of the body, `truncate` and `flip` change the
    body, `slow` delays the response, a status code is returned, `ignore` removes conditional headers. method, path: the
    requests that fail; path is a regular expression. times: the number of requests that fail; None: all.
    """

    kind: str
    path: str = ""
    method: str = ""
    times: int | None = None

    def matches(self, method: str, path: str) -> bool:
        if self.times == 0 or (self.method and self.method != method) or not re.search(self.path, path):
            return False
        self.times = None if self.times is None else self.times - 1
        return True


@dataclass
class S3Server:
    """An S3 server and its proxy, whose `url` all clients use."""

    process: "subprocess.Popen[bytes]"
    upstream: int
    port: int
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        self.faults[:] = faults
        try:
            yield
        finally:
            self.faults.clear()

    def fault(self, method: str, path: str) -> str | None:
        return next((fault.kind for fault in self.faults if fault.matches(method, path)), None)


@contextmanager
def s3_server(log: Path) -> Iterator[S3Server]:
    """An S3 server with an empty bucket."""
    port = free_port()
    program = "from moto.server import main; main()"
    with log.open("wb") as out:
        command = [sys.executable, "-c", program, "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    server = S3Server(process, port, free_port())
    proxy = ThreadingHTTPServer(("127.0.0.1", server.port), proxy_handler(server))
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        wait_until_listening(process, port, log)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200
        yield server
    finally:
        proxy.shutdown()
        proxy.server_close()
        process.kill()
        process.wait()


def wait_until_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


def proxy_handler(server: S3Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def forward(self) -> None:
            server.requests.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            fault = server.fault(self.command, self.path)
            if fault == "slow":
                time.sleep(3)
            if fault == "refuse":
                self.close_connection = True
                return
            if fault is not None and fault.isdigit():
                self.answer(int(fault), {}, b"<Error><Code>Fault</Code></Error>", None)
                return
            try:
                self.answer(*self.upstream(body, keep_conditions=fault != "ignore"), fault)
            except OSError:
                self.close_connection = True

        def upstream(self, body: bytes, *, keep_conditions: bool) -> tuple[int, dict[str, str], bytes]:
            dropped = NOT_FORWARDED if keep_conditions else NOT_FORWARDED | CONDITIONS
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            connection = http.client.HTTPConnection("127.0.0.1", server.upstream, timeout=WAIT_S)
            connection.request(self.command, self.path, body, headers)
            found = connection.getresponse()
            content = found.read()
            connection.close()
            sent = {name: value for name, value in found.getheaders() if name.lower() not in NOT_FORWARDED}
            if self.command == "HEAD":
                sent["Content-Length"] = found.getheader("content-length") or "0"
            return found.status, sent, content

        def answer(self, status: int, headers: dict[str, str], body: bytes, fault: str | None) -> None:
            if fault == "truncate":
                body = body[: len(body) // 2]
            if fault == "flip" and body:
                body = bytes([*body[:-1], body[-1] ^ 1])
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
            self.close_connection = fault == "cut"

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815 - the names of http.server

    return Handler
