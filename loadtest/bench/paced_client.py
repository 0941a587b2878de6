"""An open-loop client that sends requests at given times with little processor time, to one server in one process.

It sends equal requests and checks only the status of the responses. It never sleeps, so it needs a separate core; the
open-loop client of the load tests compares the content of each response, which takes more time.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from loadtest.bench.clients import JSON, content_length

Seconds = npt.NDArray[np.float64]
READ_BYTES = 1 << 18
SEND_TIMEOUT_S = 60.0  # limit for sending one request


class PacedClient:
    """Sends one request over a fixed number of connections."""

    def __init__(self, url: str, body: bytes, connections: int, headers: Mapping[str, str] = JSON) -> None:
        """Opens the connections. Raises OSError."""
        parts = urlsplit(url)
        fields = {"host": parts.netloc, **headers, "content-length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._request = f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + body
        self._sockets: dict[int, socket.socket] = {}
        self._selector = select.epoll()
        for _ in range(connections):
            opened = socket.create_connection((parts.hostname, parts.port), SEND_TIMEOUT_S)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[opened.fileno()] = opened
            self._selector.register(opened.fileno(), select.EPOLLIN)

    def close(self) -> None:
        self._selector.close()
        for opened in self._sockets.values():
            opened.close()

    def run(self, due: Seconds, timeout_s: float) -> Seconds:
        """Send a request at each of these times, in ascending seconds from now. Returns the seconds from each time to
        the end of the response (requests,).

        A request waits if all connections have a request in progress. Raises RuntimeError if a response has another
        status than 200, if a connection ends, or if responses are missing `timeout_s` after the last time.
        """
        times, latencies = due.tolist(), np.full(len(due), np.nan)
        free, waiting = deque(self._sockets), deque[int]()  # in turn, so that no connection is idle for long
        in_progress: dict[int, int] = {}  # the request of each busy connection
        received: dict[int, bytes] = {}
        next_request, start = 0, time.perf_counter()
        while next_request < len(times) or waiting or in_progress:
            now = time.perf_counter() - start
            while next_request < len(times) and times[next_request] <= now:
                waiting.append(next_request)
                next_request += 1
            while waiting and free:
                connection = free.popleft()
                in_progress[connection] = waiting.popleft()
                self._sockets[connection].sendall(self._request)
            for connection, _ in self._selector.poll(0):
                read = self._sockets[connection].recv(READ_BYTES)
                if not read:
                    raise RuntimeError("a connection has ended")
                content = received.pop(connection, b"") + read
                if not is_complete(content):
                    received[connection] = content
                    continue
                if not content.startswith(b"HTTP/1.1 200 "):
                    raise RuntimeError(f"a response has the status {content[9:12]!r}")
                request = in_progress.pop(connection)
                latencies[request] = time.perf_counter() - start - times[request]
                free.append(connection)
            if now > times[-1] + timeout_s:
                raise RuntimeError(f"missing responses: {len(in_progress) + len(waiting)}")
        return latencies


def is_complete(content: bytes) -> bool:
    """Whether this is a complete response."""
    head, found, rest = content.partition(b"\r\n\r\n")
    return bool(found) and len(rest) >= content_length(head)
