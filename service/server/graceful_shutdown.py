"""Graceful shutdown: readiness probes fail, then connections are refused, and accepted requests are still answered."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from models.library_hook import require
from service.server.connection_balancer import ConnectionBalancer
from service.server.library_hooks import uvicorn_hooks
from service.server.listeners import wait_until_refused
from service.server_state import ServerState
from service.worker_records import WorkerRecords

FINISH_S = 25.0  # time for requests in flight, after the grace period
POLL_S = 0.02
SIGNALS = (signal.SIGTERM, signal.SIGINT)
log = logging.getLogger("tabserve.server")


class GracefulShutdown:
    """Handles SIGTERM and SIGINT, and passes them on to uvicorn when all requests are answered.

    SIGTERM: readiness probes fail at once. Connections are accepted during the grace period, then refused; accepted
    requests are answered, and their connections then closed. SIGINT, from a terminal, has no grace period. Further
    signals are ignored, because the supervisor kills its workers at a second signal.
    """

    def __init__(
        self,
        server: uvicorn.Server,
        state: ServerState,
        grace_s: float,
        notify: Callable[[], Awaitable[None]] | None = None,
        refuse: Callable[[float], None] | None = None,
        records: WorkerRecords | None = None,
    ) -> None:
        """notify: awaited when draining starts. refuse: called after the grace period to refuse further gRPC calls,
        with the seconds that calls in flight still have. records: the records of this worker."""
        self._server = server
        self._state = state
        self._grace_s = grace_s
        self._notify = notify
        self._refuse = refuse
        self._records = records
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Handle the signals from now on."""
        for number in SIGNALS:
            signal.signal(number, self.on_signal)

    def check(self) -> None:
        """Raises LibraryHookMissing if something else handles the signals."""
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler != self.on_signal:
                require(uvicorn_hooks.SIGNAL_HANDLER, f"{number.name} is handled by {handler!r}")

    def on_signal(self, number: int, frame: Any) -> None:
        if self._state.draining:
            return
        self._state.begin_draining()
        if self._records:
            self._records.stopping()
        self._loop.call_soon_threadsafe(self._begin, number, frame)

    def _begin(self, number: int, frame: Any) -> None:
        self._task = self._loop.create_task(self._stop(number, frame))

    async def _stop(self, number: int, frame: Any) -> None:
        """Drain, then let uvicorn exit in any case, because the supervisor waits for each worker."""
        try:
            await self._drain(number)
        except Exception:
            log.exception("draining failed")
        self._server.handle_exit(number, frame)

    async def _drain(self, number: int) -> None:
        grace_s = self._grace_s if number == signal.SIGTERM else 0.0
        log.info("draining", extra={"grace_s": grace_s, "inflight": self._state.inflight})
        if self._notify:
            await self._notify()
        await asyncio.sleep(grace_s)
        if self._refuse:
            self._refuse(FINISH_S)
        await self._stop_listening()
        deadline = self._loop.time() + FINISH_S
        while self._state.inflight and self._loop.time() < deadline:
            await asyncio.sleep(POLL_S)
        if self._state.inflight:
            self._state.close()

    async def _stop_listening(self) -> None:
        """Accept all connections in the backlog and then no more. Waits for the listeners of a starting server."""
        deadline = self._loop.time() + FINISH_S
        while not self._server.started and self._loop.time() < deadline:
            await asyncio.sleep(POLL_S)
        await wait_until_refused(listener for each in self._server.servers for listener in each.sockets)
        for each in list(self._server.servers):
            if isinstance(each, ConnectionBalancer):
                each.accept_all()
                await each.finish_handshakes()
                each.close()
