"""What a worker process owes its surroundings, by means that BentoML and uvicorn do not offer in public.

One file, so that an upgrade that moves something is noticed in one place: tests/service/test_process.py.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service import errors
from service.lane import Lane

HEAD_BYTES = 65_536
HEAD_S = 5.0  # for a connection to send the head of its first request
MOST_FAILED_STARTS = 3
ACCEPTED_AT_ONCE = 64
STOP_S = 25.0  # for requests in flight, once the grace is over
REFUSAL = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\nx-request-id: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"

log = logging.getLogger("tabserve.process")


def replace_dead_workers() -> None:
    """In containers too, and within a second: BentoML asks these when it starts the workers, after this import."""
    if in_worker():  # which starts none, and saves 5 MB of imports
        return
    import functools

    import bentoml._internal.utils.circus as circus

    os.environ.pop("BENTOML_CONTAINERIZED", None)
    if not isinstance(circus.create_standalone_arbiter, functools.partial):
        circus.create_standalone_arbiter = functools.partial(circus.create_standalone_arbiter, check_delay=1)


def in_worker() -> bool:
    """Whether this is a worker of `bentoml serve`, and not its supervisor, a build or a test."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "_bentoml_impl.worker.service"


def failed_to_start(reason: str) -> None:
    """A worker that cannot start is replaced for ever, so the last of a few ends the server with one clear line."""
    count = failed_starts()
    if count is None:
        return
    with count.open("a") as file:
        file.write(".")
    times = count.stat().st_size
    log.error("worker cannot start", extra={"reason": reason, "times": times})
    if times >= MOST_FAILED_STARTS:
        log.error("no worker can start: the server stops", extra={"reason": reason})
        os.kill(os.getppid(), signal.SIGTERM)


def started() -> None:
    """A worker is up: what failed before counts no more."""
    if count := failed_starts():
        count.unlink(missing_ok=True)


def failed_starts() -> Path | None:
    """A file of one byte for each failed start, in the folder that the workers of one server share and that each
    server empties; None outside of workers."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) / "failed_starts" if folder and in_worker() else None


def taken(port: int) -> bool:
    """Whether another server listens on a port. To be asked before the first worker does: they share it by a means
    that would let any other program in, too, and the kernel spread the connections over both."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def http_host() -> str:
    """The address on which this worker answers HTTP; loopback outside of workers."""
    if not in_worker():
        return "127.0.0.1"
    with socket.socket(fileno=os.dup(int(sys.argv[sys.argv.index("--fd") + 1]))) as listener:
        return str(listener.getsockname()[0])


def uvicorn_server() -> uvicorn.Server | None:
    """The server that runs this worker; None under another runner, as in tests."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None


class Guarded(HttpToolsProtocol):
    """Refuses heads that do not end, and what is no HTTP by a problem document."""

    _of: Any = 0
    _head = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if cycle is None or cycle.response_complete:  # no request under way: still inside a head
            if self._of is not cycle:
                self._of, self._head = cycle, 0
            self._head += len(data)
            if self._head > HEAD_BYTES and not self.transport.is_closing():
                self._refuse(431, "Head too large", f"the head of the request is larger than {HEAD_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "Bad request", "the request is not valid HTTP")

    def _refuse(self, status: int, title: str, detail: str) -> None:
        document = errors.problem(status, title, detail)
        request_id = os.urandom(8).hex().encode()
        head = (status, title.encode(), errors.PROBLEM, request_id, len(document))
        self.transport.write(REFUSAL % (*head, document))
        self.transport.close()


def guard(server: uvicorn.Server) -> "list[asyncio.Task[None]]":
    """Watch over the connections. Keep the tasks; they end when cancelled."""
    server.config.http_protocol_class = Guarded
    server.config.timeout_graceful_shutdown = int(STOP_S)
    logging.getLogger("uvicorn.access").propagate = False  # uvicorn writes a line where anyone would read it
    return [asyncio.create_task(watch(server)) for watch in (close_silent_connections, accept_in_bulk)]


async def accept_in_bulk(server: uvicorn.Server) -> None:
    """Take all waiting connections at once.

    libuv takes one in each turn of the event loop. Under load a turn serves every connection that is there already, so
    those still waiting would wait for as many such turns as there are before them: seconds.
    """
    loop = asyncio.get_running_loop()
    while not server.started:
        await asyncio.sleep(0.05)

    def protocol() -> asyncio.Protocol:
        return Guarded(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)

    async def serve(accepted: socket.socket) -> None:
        try:
            await loop.connect_accepted_socket(protocol, accepted)
        except OSError:  # gone already
            accepted.close()

    def accept(listener: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors: uvloop's own listener tells and sheds
                log.warning("no connection can be accepted", extra={"reason": str(error)})
                return
            accepted.setblocking(False)
            task = loop.create_task(serve(accepted))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    tasks: set[asyncio.Task[None]] = set()
    listeners = [socket.socket(fileno=os.dup(each.fileno())) for own in server.servers for each in own.sockets]
    try:
        for listener in listeners:
            listener.setblocking(False)
            loop.add_reader(listener, accept, listener)
        while not server.should_exit:
            await asyncio.sleep(0.05)
    finally:
        for listener in listeners:
            loop.remove_reader(listener)
            listener.close()


async def close_silent_connections(server: uvicorn.Server) -> None:
    """Close connections that for HEAD_S have not sent the head of a request."""
    since: dict[tuple[int, int], float] = {}
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1)
        still: dict[tuple[int, int], float] = {}
        for connection in list(server.server_state.connections):
            if not isinstance(connection, HttpToolsProtocol) or connection.timeout_keep_alive_task is not None:
                continue
            cycle = connection.cycle
            if cycle is None or cycle.response_complete:
                key = (id(connection), id(cycle))
                still[key] = since.get(key, loop.time())
                if loop.time() - still[key] > HEAD_S:
                    connection.transport.close()
        since = still


def drain_on_signals(
    server: uvicorn.Server, lane: Lane, grace: float, tell: Callable[[], Awaitable[None]] | None = None
) -> None:
    """On SIGTERM turn unready, answer on for the grace, then refuse, finish what is in flight and let uvicorn stop.

    SIGINT (a person who waits) has no grace. A second SIGINT stops at once. tell: who else is to know of it first.
    """
    loop = asyncio.get_running_loop()
    theirs: Callable[..., Any] = server.handle_exit

    def on_signal(number: int, frame: Any) -> None:
        if lane.draining:
            if number == signal.SIGINT:
                theirs(number, frame)
            return
        lane.draining = True
        wait = grace if number == signal.SIGTERM else 0.0
        loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(stop(number, frame, wait))))

    async def stop(number: int, frame: Any, wait: float) -> None:
        log.info("draining", extra={"grace_s": wait, "inflight": lane.inflight})
        if tell:
            await tell()
        await asyncio.sleep(wait)
        lane.closed = True
        until = loop.time() + STOP_S
        while lane.inflight and loop.time() < until:
            await asyncio.sleep(0.05)
        theirs(number, frame)

    tasks: list[asyncio.Task[None]] = []
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
