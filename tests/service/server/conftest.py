"""Fixtures of the server tests: a listener of our HTTP protocol, signal handlers, and applications to compare."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn

from models.tabular_model import TabularModel
from service.http.asgi import Application
from service.http.request_body import RequestBody
from service.server import http_protocol
from service.server.stop_signals import SIGNALS
from service.settings import Settings


@contextlib.asynccontextmanager
async def listening(app: Any, **options: Any) -> "AsyncIterator[tuple[str, int]]":
    """Serve an application with our HTTP protocol in the running event loop. Yields the address.

    options: passed to uvicorn.
    """
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, **options))
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
    """Restore the signal handlers after the test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def apps(
    make_app: Any, tabular_models: list[TabularModel], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Application, Application, list[bytes]]]:
    """Two applications, with and without direct responses, and the list of direct responses."""
    settings = Settings(max_rows=100, max_body_bytes=20_000, access_log=1.0)
    with_direct, without = (make_app(tabular_models, settings) for _ in range(2))
    monkeypatch.setattr(without.direct, "head", lambda *_: None)
    sent: list[bytes] = []
    send = http_protocol.GuardedHttpProtocol._send_directly

    def count(protocol: Any, response: bytes, arrived: float) -> None:
        sent.append(response)
        send(protocol, response, arrived)

    finish = RequestBody.finish

    async def finish_in_time(body: RequestBody, seconds: float) -> bool:
        return await finish(body, 60)  # long enough that the response does not depend on the speed of the client

    monkeypatch.setattr(http_protocol.GuardedHttpProtocol, "_send_directly", count)
    monkeypatch.setattr(RequestBody, "finish", finish_in_time)
    yield with_direct, without, sent
    for app in (with_direct, without):
        app.plane.close()
