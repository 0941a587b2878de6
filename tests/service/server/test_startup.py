"""Hooks work in a running uvicorn server; a hook without effect stops the server with a clear message."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from models.library_hook import LibraryHook, LibraryHookMissing
from service.server import http_protocol, startup, worker
from service.server.connection_balancer import ConnectionBalancer
from service.server.library_hooks import bentoml_hooks, uvicorn_hooks
from service.server_state import ServerState

CONNECTIONS = 40


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def running_server(server: uvicorn.Server) -> AsyncIterator[int]:
    """Run a server until the block ends. Yields the port."""
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment]
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def new_server() -> uvicorn.Server:
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None)
    config.load()  # uvicorn loads the configuration before the application starts
    return uvicorn.Server(config)


async def iterations_to_answer(port: int) -> int:
    """The number of event loop iterations, with 10 ms of work in each, until all connections are answered."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(CONNECTIONS)]
        iterations = 0
        for client in clients:
            client.setblocking(False)
            client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        waiting = set(clients)
        while waiting and iterations < 10 * CONNECTIONS:
            time.sleep(0.01)
            await asyncio.sleep(0)
            iterations += 1
            for client in list(waiting):
                with contextlib.suppress(BlockingIOError):
                    assert client.recv(1000).startswith(b"HTTP/1.1 200")
                    waiting.discard(client)
    assert not waiting
    return iterations


@pytest.mark.parametrize("balanced", [True, False])
def test_a_busy_worker_accepts_all_waiting_connections_at_once(balanced: bool) -> None:
    """Without the balancer, libuv accepts one connection per iteration; the second case fails if libuv accepts more."""

    async def measure() -> int:
        server = new_server()
        async with running_server(server) as port:
            tasks = startup.install_library_hooks(server, ServerState(), 0.0) if balanced else []
            await asyncio.sleep(0.2)
            iterations = await iterations_to_answer(port)
        for task in tasks:
            task.cancel()
        return iterations

    iterations = uvloop.run(measure())
    assert iterations < CONNECTIONS / 2 if balanced else iterations >= CONNECTIONS


def test_all_hooks_are_effective_in_a_running_server() -> None:
    async def scenario() -> None:
        server, state = new_server(), ServerState()
        tasks = startup.install_library_hooks(server, state, 1.0)
        async with running_server(server):
            await wait_until(lambda: isinstance(server.servers[0], ConnectionBalancer))
            (balancer,) = server.servers
            assert isinstance(balancer, ConnectionBalancer)
            assert server.config.http_protocol_class is http_protocol.GuardedHttpProtocol
            signal.raise_signal(signal.SIGTERM)
            assert state.draining
            assert not server.should_exit
            await wait_until(lambda: server.should_exit)
            assert balancer.sockets == []
            assert not state.closed  # the server still answers accepted requests
        for task in tasks:
            task.cancel()

    uvloop.run(scenario())


def set_another_protocol(server: uvicorn.Server, patch: pytest.MonkeyPatch) -> None:
    server.config.http_protocol_class = asyncio.Protocol


def remove_the_timeout(server: uvicorn.Server, patch: pytest.MonkeyPatch) -> None:
    server.config.timeout_graceful_shutdown = None


def set_another_signal_handler(server: uvicorn.Server, patch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def use_a_missing_attribute(server: uvicorn.Server, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(startup, "check_http_protocol", lambda server: server.new_name)


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (set_another_protocol, uvicorn_hooks.PROTOCOL_CLASS.name),
        (remove_the_timeout, uvicorn_hooks.GRACEFUL_TIMEOUT.name),
        (set_another_signal_handler, uvicorn_hooks.SIGNAL_HANDLER.name),
        (use_a_missing_attribute, "has no attribute 'new_name'"),
    ],
)
def test_a_hook_without_effect_stops_the_server_with_a_clear_message(
    change: Callable[[uvicorn.Server, pytest.MonkeyPatch], None],
    reported: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures: list[str] = []
    monkeypatch.setattr(worker, "record_failed_start", failures.append)

    async def scenario() -> None:
        server, state = new_server(), ServerState()
        state.mark_ready()
        async with running_server(server):
            tasks = startup.install_library_hooks(server, state, 0.0)
            change(server, monkeypatch)
            await wait_until(lambda: server.should_exit)
            assert not state.admits_requests
        for task in tasks:
            task.cancel()

    caplog.set_level(logging.ERROR)
    uvloop.run(scenario())
    assert len(failures) == 1
    assert reported in failures[0]
    assert "hooks cannot be installed" in caplog.text


def test_a_worker_in_which_a_hook_has_no_effect_exits_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[int] = []
    monkeypatch.setattr(worker, "in_worker", lambda: True)
    monkeypatch.setattr(worker, "record_failed_start", lambda reason: None)
    monkeypatch.setattr(os, "_exit", exits.append)

    async def scenario() -> None:
        server = new_server()
        async with running_server(server):
            server.config.http_protocol_class = asyncio.Protocol
            await startup.finish_start(server, ServerState(), shutdown=None)

    uvloop.run(scenario())
    assert exits == [1]


def test_a_server_without_the_expected_listeners_is_reported() -> None:
    async def scenario() -> None:
        server = new_server()
        async with running_server(server):
            balancer = startup.install_connection_balancer(server)
            assert balancer
            balancer.check(server)
            server.servers = []
            with pytest.raises(LibraryHookMissing, match=r"Server.servers holds \[\]"):
                balancer.check(server)
            balancer.close()

    uvloop.run(scenario())


def test_sockets_that_no_longer_listen_are_reported() -> None:
    async def scenario() -> None:
        server = new_server()
        async with running_server(server):
            balancer = startup.install_connection_balancer(server)
            assert balancer
            balancer.sockets[0].shutdown(socket.SHUT_RDWR)
            with pytest.raises(LibraryHookMissing, match="no longer listens"):
                balancer.check(server)

    uvloop.run(scenario())


def test_a_worker_checks_its_hooks_its_supervisor_and_its_app(monkeypatch: pytest.MonkeyPatch) -> None:
    server = new_server()
    monkeypatch.setattr(worker, "in_worker", lambda: True)
    monkeypatch.setattr(worker, "check_supervisor", lambda: None)
    signal.signal(signal.SIGTERM, server.handle_exit)
    assert startup.check_worker(app) is server

    def missing_hook(application: Any) -> LibraryHook:
        with pytest.raises(LibraryHookMissing) as raised:
            startup.check_worker(application)
        return raised.value.hook

    assert missing_hook(set_another_protocol) is bentoml_hooks.SERVICE_CLASS
    monkeypatch.delattr(HttpToolsProtocol, "_should_upgrade")
    assert missing_hook(app) is uvicorn_hooks.SHOULD_UPGRADE
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert missing_hook(app) is uvicorn_hooks.SIGNAL_HANDLER
