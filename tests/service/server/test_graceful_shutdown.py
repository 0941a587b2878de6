"""A worker exits after a signal, whenever the signal arrives."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

import pytest
import uvicorn

from service.server.graceful_shutdown import GracefulShutdown
from service.server_state import ServerState

WAIT_S = 60


async def unused_app(scope: object, receive: object, send: object) -> None:
    """An application that receives no requests."""


def stopping_server(notify: Callable[[], Awaitable[None]] | None = None) -> uvicorn.Server:
    """A server that has received SIGINT before it listens."""
    server = uvicorn.Server(uvicorn.Config(unused_app))
    GracefulShutdown(server, ServerState(), 0.0, notify).on_signal(signal.SIGINT, None)
    return server


async def wait_for_exit(server: uvicorn.Server) -> None:
    async with asyncio.timeout(WAIT_S):
        while not server.should_exit:
            await asyncio.sleep(0.01)


def test_a_signal_before_the_server_listens_stops_the_server_afterwards() -> None:
    async def run() -> None:
        server = stopping_server()
        await asyncio.sleep(0.1)
        assert not server.should_exit
        server.servers, server.started = [], True
        await wait_for_exit(server)

    asyncio.run(run())


def test_a_server_exits_if_draining_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("no gRPC")

    async def run() -> None:
        await wait_for_exit(stopping_server(fail))

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert "draining failed" in caplog.text
