"""One process that keeps a request on each connection of several clients, and counts the responses of each client.

Separate processes would compete for the cores, which would determine their shares of the responses. The process does
little work for a request, so that it is not the bottleneck; `busy` shows how busy it was.
"""

import dataclasses
import json
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from loadtest.bench.clients import content_length
from loadtest.bench.fixed_count_client import READ_BYTES, connected

WARM_UP_S = 1.0
STALLED_S = 30.0


@dataclass
class ClientResponses:
    """The responses to one client, counted after the warm-up."""

    accepted: int = 0
    limited: int = 0  # with status 429
    failed: int = 0


@dataclass(frozen=True)
class SharedRun:
    """The responses of a run. busy: the fraction of the time in which the client process used a core."""

    responses: Sequence[ClientResponses]
    seconds: float
    busy: float


class ClientConnection:
    """A connection on which one request after another is sent."""

    def __init__(self, address: tuple[str, int], request: bytes, responses: ClientResponses) -> None:
        self.socket = connected(address)
        self.socket.setblocking(False)
        self._request = request
        self._responses = responses
        self._unsent = memoryview(b"")
        self._head = b""  # the part of an incomplete head that has arrived
        self._missing = 0  # bytes of the body that have not arrived
        self._accepted = self._limited = False

    def start(self) -> bool:
        """Send the next request. Returns whether all of it was sent."""
        self._unsent = memoryview(self._request)
        return self.send()

    def send(self) -> bool:
        """Send the rest of the request. Returns whether all of it was sent."""
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        return not self._unsent

    def receive(self) -> bool:
        """Read a part of the response. Returns whether it is complete. Raises ConnectionError."""
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the server closed a connection")
        if self._missing:
            self._missing -= len(data)
            return not self._missing
        self._head += data
        head, found, rest = self._head.partition(b"\r\n\r\n")
        if not found:
            return False
        self._head = b""
        self._accepted, self._limited = head.startswith(b"HTTP/1.1 2"), head.startswith(b"HTTP/1.1 429")
        self._missing = content_length(head) - len(rest)
        return not self._missing

    def count(self) -> None:
        self._responses.accepted += self._accepted
        self._responses.limited += self._limited
        self._responses.failed += not (self._accepted or self._limited)


def send_until(url: str, body: bytes, clients: Sequence[tuple[int, Mapping[str, str]]], seconds: float) -> SharedRun:
    """POST the body repeatedly; responses are counted after WARM_UP_S. clients: the connections and headers of each."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    responses = [ClientResponses() for _ in clients]
    connections = {}
    poll = select.epoll()
    for counted, (count, headers) in zip(responses, clients, strict=True):
        fields = {"host": parts.netloc, **headers, "content-length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        request = f"POST {parts.path or '/'} HTTP/1.1\r\n{head}\r\n".encode() + body
        for _ in range(count):
            connection = ClientConnection(address, request, counted)
            connections[connection.socket.fileno()] = connection
            poll.register(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT * (not connection.start()))
    now = time.monotonic()
    from_, until = now + WARM_UP_S, now + WARM_UP_S + seconds
    used = 0.0
    while now < until:
        ready = poll.poll(STALLED_S)
        if not ready:
            raise ConnectionError(f"no response within {STALLED_S:g} s")
        now = time.monotonic()
        if not used and now >= from_:
            used = time.process_time()
        for number, events in ready:
            connection = connections[number]
            if events & select.EPOLLOUT:
                if connection.send():
                    poll.modify(number, select.EPOLLIN)
            elif connection.receive():
                if now >= from_:
                    connection.count()
                if not connection.start():
                    poll.modify(number, select.EPOLLIN | select.EPOLLOUT)
    busy = (time.process_time() - used) / seconds
    for connection in connections.values():
        connection.socket.close()
    return SharedRun(responses, seconds, busy)


def run(url: str, body: bytes, clients: Sequence[tuple[int, Mapping[str, str]]], seconds: float) -> SharedRun:
    """Run `send_until` in a separate process."""
    wanted = json.dumps({"url": url, "clients": [(count, dict(headers)) for count, headers in clients]})
    command = [sys.executable, "-m", "loadtest.bench.shared_client", wanted, str(seconds)]
    done = subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return SharedRun([ClientResponses(**one) for one in found["responses"]], found["seconds"], found["busy"])


def main(arguments: Sequence[str]) -> None:
    wanted, seconds = json.loads(arguments[0]), float(arguments[1])
    found = send_until(wanted["url"], sys.stdin.buffer.read(), wanted["clients"], seconds)
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
