"""A worker exits after a signal at any time."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

import pytest
import uvicorn

from service.server.graceful_shutdown import GracefulShutdown
from service.server_state import ServerState

WAIT_S = 60


async def never(scope: object, receive: object, send: object) -> None:
    """An application without requests."""


def stopping_server(notify: Callable[[], Awaitable[None]] | None = None) -> uvicorn.Server:
    """A server that has received SIGINT before it has listeners."""
    server = uvicorn.Server(uvicorn.Config(never))
    GracefulShutdown(server, ServerState(), 0.0, notify).on_signal(signal.SIGINT, None)
    return server


async def exits(server: uvicorn.Server) -> None:
    async with asyncio.timeout(WAIT_S):
        while not server.should_exit:
            await asyncio.sleep(0.01)


def test_a_signal_before_the_server_listens_stops_it_once_it_does() -> None:
    async def run() -> None:
        server = stopping_server()
        await asyncio.sleep(0.1)
        assert not server.should_exit
        server.servers, server.started = [], True
        await exits(server)

    asyncio.run(run())


def test_a_server_exits_if_draining_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("no gRPC")

    async def run() -> None:
        await exits(stopping_server(fail))

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert "draining failed" in caplog.text
