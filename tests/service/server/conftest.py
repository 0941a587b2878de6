"""Shared by the tests of the server."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn

from service.server import http_protocol
from service.server.stop_signals import SIGNALS


@contextlib.asynccontextmanager
async def listening(app: Any) -> "AsyncIterator[tuple[str, int]]":
    """The address at which our HTTP protocol serves an application in the running event loop."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    http_protocol.install_http_protocol(server)
    listener = await asyncio.get_running_loop().create_server(http_protocol.protocol_of(server), "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()
    finally:
        listener.close()


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Restores the signal handlers."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
