"""The client of `bench latency` sends each request when it is due, and reports failures."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from loadtest.bench.paced_client import PacedClient, is_complete

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the client needs epoll")
BODY = b'{"rows": [{"a": 1}]}'
WAIT_S = 30.0
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def start(status: int = 200, delay_s: float = 0.0, *, closes: bool = False) -> str:
            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_POST(self) -> None:
                    assert self.rfile.read(int(self.headers["content-length"])) == BODY
                    time.sleep(delay_s)
                    self.send_response(status)
                    self.send_header("content-length", "2")
                    self.end_headers()
                    self.wfile.write(b"{" if closes else b"{}")
                    self.close_connection = closes

                def log_message(self, *arguments: object) -> None:
                    pass

            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}/predict"

        yield start


def latencies(url: str, due: list[float], connections: int = 2, timeout_s: float = WAIT_S) -> list[float]:
    with contextlib.closing(PacedClient(url, BODY, connections)) as client:
        found: list[float] = client.run(np.array(due), timeout_s).tolist()
        return found


def test_each_request_is_sent_when_it_is_due(serve: Serve) -> None:
    started = time.perf_counter()
    found = latencies(serve(), [0.0, 0.1, 0.1, 0.3])
    assert time.perf_counter() - started >= 0.3
    assert len(found) == 4
    assert all(0 < latency < WAIT_S for latency in found)


def test_the_wait_for_a_connection_is_part_of_the_latency(serve: Serve) -> None:
    first, second, third = latencies(serve(delay_s=0.2), [0.0, 0.0, 0.0], connections=1)
    assert first >= 0.2
    assert second >= 0.4
    assert third >= 0.6


def test_a_response_with_another_status_is_an_error(serve: Serve) -> None:
    with pytest.raises(RuntimeError, match="503"):
        latencies(serve(status=503), [0.0])


def test_the_end_of_a_connection_is_an_error(serve: Serve) -> None:
    with pytest.raises(RuntimeError, match="a connection has ended"):
        latencies(serve(closes=True), [0.0])


def test_a_missing_response_is_an_error(serve: Serve) -> None:
    with pytest.raises(RuntimeError, match="missing responses: 1"):
        latencies(serve(delay_s=1.0), [0.0], timeout_s=0.1)


def test_a_response_is_complete_with_its_last_byte() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    assert [is_complete(response[:end]) for end in range(1, len(response) + 1)].index(True) == len(response) - 1
