"""A client that repeatedly sends a fixed number of requests over keep-alive connections.

No connection is opened during a measurement, and two servers that take turns get the same number of requests. The
client does so little work per request that the server always has a waiting request, as under full load.
"""

import select
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from loadtest.bench.clients import content_length

RESPONSE_S = 60.0
READ_BYTES = 256 * 1024


class FixedCountClient:
    """Keeps one request on each connection, and reads the responses in the order of the connections."""

    def __init__(self, url: str, body: bytes, headers: Mapping[str, str], connections: int) -> None:
        parts = urlsplit(url)
        fields = {"host": parts.netloc, **headers, "content-length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._request = f"POST {parts.path or '/'} HTTP/1.1\r\n{head}\r\n".encode() + body
        self._address = (parts.hostname or "", parts.port or 80)
        self._sockets = [connected(self._address) for _ in range(connections)]

    def reconnect(self) -> None:
        """Reopen the connections that the server has closed because they were idle."""
        closed, _, _ = select.select(
            self._sockets, [], [], 0
        )  # no request is open, so a readable connection was closed
        for number, connection in enumerate(self._sockets):
            if connection in closed:
                connection.close()
                self._sockets[number] = connected(self._address)

    def send(self, requests: int) -> int:
        """Send requests and read all responses. Returns the number of responses with a status other than 2xx.

        Raises OSError if a connection is closed or a response is missing.
        """
        count, errors = len(self._sockets), 0
        for connection in self._sockets[:requests]:
            connection.sendall(self._request)
        for number in range(requests):
            connection = self._sockets[number % count]
            errors += not read_response(connection)
            if number + count < requests:
                connection.sendall(self._request)
        return errors

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()


def connected(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address, timeout=RESPONSE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_response(connection: socket.socket) -> bool:
    """Read one complete response with a content-length. Returns whether its status is 2xx."""
    head, found, rest = receive(connection).partition(b"\r\n\r\n")
    while not found:
        head, found, rest = (head + receive(connection)).partition(b"\r\n\r\n")
    missing = content_length(head) - len(rest)
    while missing > 0:
        missing -= len(receive(connection))
    return head.startswith(b"HTTP/1.1 2")


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(READ_BYTES)
    if not data:
        raise ConnectionError("the server closed a connection before its response was complete")
    return data
