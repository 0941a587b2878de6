"""Starts a worker: checks all library hooks, installs them, and verifies them once uvicorn has started."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from models.library_hook import check_all, require
from service.server import worker
from service.server.connection_balancer import ConnectionBalancer
from service.server.connection_counts import ConnectionCounts
from service.server.graceful_shutdown import GracefulShutdown
from service.server.http_protocol import check_http_protocol, install_http_protocol, protocol_of
from service.server.library_hooks import all_hooks, bentoml_hooks
from service.server.silent_connections import close_silent_connections
from service.server.tls import TlsContext
from service.server_state import ServerState
from service.worker_records import WorkerRecords

POLL_S = 0.02
log = logging.getLogger("tabserve.server")


def check_worker(app: Any) -> uvicorn.Server | None:
    """The uvicorn server of this process; None if something else runs the service, such as a test.

    app: the app that uvicorn should run. In a worker, raises LibraryHookMissing if a hook is not possible.
    """
    server = worker.uvicorn_server()
    if worker.in_worker():
        check_all(all_hooks.WORKER)
        worker.check_supervisor()
        if server and server.config.app is not app:
            require(bentoml_hooks.SERVICE_CLASS, f"uvicorn runs {server.config.app!r}")
    return server


def install_library_hooks(
    server: uvicorn.Server,
    state: ServerState,
    grace_s: float,
    notify: Callable[[], Awaitable[None]] | None = None,
    refuse: Callable[[float], None] | None = None,
    records: WorkerRecords | None = None,
    tls: TlsContext | None = None,
) -> "list[asyncio.Task[None]]":
    """Install all hooks into a server that is about to start. Returns tasks, which the caller keeps and cancels at the
    end.

    grace_s, notify, refuse: as in `GracefulShutdown`. records: the records of this worker. tls: None without TLS.
    """
    install_http_protocol(server)
    shutdown = GracefulShutdown(server, state, grace_s, notify, refuse, records)
    shutdown.install()
    tasks = [close_silent_connections(server), finish_start(server, state, shutdown, records, tls)]
    if tls:
        tasks.append(tls.follow())
    return [asyncio.create_task(task) for task in tasks]


async def finish_start(
    server: uvicorn.Server,
    state: ServerState,
    shutdown: GracefulShutdown | None = None,
    records: WorkerRecords | None = None,
    tls: TlsContext | None = None,
) -> None:
    """Verify all hooks once the server has started, then balance its connections. A missing hook stops the server."""
    try:
        while not server.started:
            await asyncio.sleep(POLL_S)
        balancer = install_connection_balancer(server, tls)
        check_http_protocol(server)
        if shutdown:
            shutdown.check()
    except Exception as error:
        log.exception("library hooks cannot be installed")
        worker.record_failed_start(f"{type(error).__name__}: {error}")
        if worker.in_worker():
            os._exit(1)  # exits immediately, because BentoML would wait a day for a worker that cannot stop
        state.close()
        server.should_exit = True
        return
    if records:
        records.started()
    if balancer:
        try:
            await balancer.exchange_counts()
        finally:
            balancer.close()


def install_connection_balancer(server: uvicorn.Server, tls: TlsContext | None = None) -> ConnectionBalancer | None:
    """Replace the listeners of a started server. If file descriptors run out, keeps uvicorn's listeners and returns
    None."""
    try:
        balancer = ConnectionBalancer(server, protocol_of(server), ConnectionCounts(worker.shared_folder()), tls)
    except OSError as error:
        log.warning("connections are not balanced between workers", extra={"reason": str(error)})
        return None
    balancer.check(server)
    return balancer
