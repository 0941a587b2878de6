"""A connection is not closed while its socket contains an unread request, which happens if the event loop is busy."""

import asyncio
import contextlib
import os
import socket
import time
from typing import Any

import pytest
import uvloop

from service.server import http_protocol
from tests.service.server.conftest import listening

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
KEEP_ALIVE_S = 0.2


def receive_responses(client: socket.socket, count: int) -> bytes:
    """Receive data until this number of responses has arrived, or until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while received.count(b"hello") < count and (part := client.recv(1000)):
            received += part
    return received


async def responses_around_a_stall(during_stall: bytes, afterwards: bytes) -> int:
    """Returns the number of answered requests. The event loop is busy from the first response until after the time at
    which an idle connection is closed. The client sends `during_stall` meanwhile, and `afterwards` later.
    """
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    stalled = asyncio.Event()

    async def hello(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})
        if not stalled.is_set():
            os.write(write_end, b"1")

    def stall() -> None:
        """Block the event loop after it has polled the sockets and before it runs its timers."""
        loop.remove_reader(read_end)
        client.sendall(during_stall)
        time.sleep(2 * KEEP_ALIVE_S)
        stalled.set()

    try:
        loop.add_reader(read_end, stall)
        async with listening(hello, timeout_keep_alive=KEEP_ALIVE_S) as address:
            with socket.create_connection(address, 60) as client:
                client.sendall(REQUEST)
                await stalled.wait()
                client.sendall(afterwards)
                return (await asyncio.to_thread(receive_responses, client, 2)).count(b"hello")
    finally:
        os.close(read_end)
        os.close(write_end)


def test_an_unread_request_is_answered() -> None:
    assert uvloop.run(responses_around_a_stall(REQUEST, b"")) == 2


def test_a_request_whose_beginning_is_unread_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "LAST_READ_S", 0.001)
    assert uvloop.run(responses_around_a_stall(REQUEST[:10], REQUEST[10:])) == 2


def test_an_idle_connection_is_closed_after_the_last_read() -> None:
    assert uvloop.run(responses_around_a_stall(b"", b"")) == 1
