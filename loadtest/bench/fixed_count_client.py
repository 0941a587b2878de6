"""A client that sends a fixed number of requests, again and again, over connections that it keeps open.

No connection is opened during a measurement, and two servers that take turns answer the same number of requests. The
client works so little for a request that the next one is always waiting for the server, as under a full load.
"""

import select
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from loadtest.bench.clients import length_of

ANSWER_S = 60.0
PIECE_BYTES = 256 * 1024  # read at once


class FixedCountClient:
    """Keeps every connection busy with one request, and reads the answers in the order of the connections."""

    def __init__(self, url: str, body: bytes, headers: Mapping[str, str], connections: int) -> None:
        place = urlsplit(url)
        fields = {"host": place.netloc, **headers, "content-length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._request = f"POST {place.path or '/'} HTTP/1.1\r\n{head}\r\n".encode() + body
        self._address = (place.hostname or "", place.port or 80)
        self._sockets = [connected(self._address) for _ in range(connections)]

    def reconnect(self) -> None:
        """Open those connections anew that the server has closed because they were idle for a few seconds."""
        closed, _, _ = select.select(self._sockets, [], [], 0)  # no answer is due, so only an end can be read
        for number, connection in enumerate(self._sockets):
            if connection in closed:
                connection.close()
                self._sockets[number] = connected(self._address)

    def send(self, requests: int) -> int:
        """Send so many requests and read all answers; how many have another status than 2xx.

        Raises OSError where a connection is closed or no answer comes.
        """
        count, errors = len(self._sockets), 0
        for connection in self._sockets[:requests]:
            connection.sendall(self._request)
        for number in range(requests):
            connection = self._sockets[number % count]
            errors += not read_answer(connection)
            if number + count < requests:
                connection.sendall(self._request)
        return errors

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()


def connected(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address, timeout=ANSWER_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answer(connection: socket.socket) -> bool:
    """Read one answer as a whole, which has a content-length; whether its status is 2xx."""
    head, found, rest = receive(connection).partition(b"\r\n\r\n")
    while not found:
        head, found, rest = (head + receive(connection)).partition(b"\r\n\r\n")
    missing = length_of(head) - len(rest)
    while missing > 0:
        missing -= len(receive(connection))
    return head.startswith(b"HTTP/1.1 2")


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(PIECE_BYTES)
    if not data:
        raise ConnectionError("the server closed a connection before its answer was complete")
    return data
