"""What a worker process owes its surroundings, by means that BentoML and uvicorn do not offer in public.

One file, so that an upgrade that moves something is noticed in one place: tests/service/test_process.py.
"""

import asyncio
import atexit
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service import errors
from service.accepting import accept_connections
from service.lane import Lane

FIRST_REQUEST_S = 0.5  # for a new connection to send one when the server stops
HEAD_BYTES = 65_536
LINGER_S = 1.0  # how long what follows a refusal is read, so that its sender gets to see it
HEAD_S = 5.0  # for a connection to send the head of a request
MOST_FAILED_STARTS = 3
SHARED_FOLDER = "tabserve-shared-"
SHARED_FOLDER_NEW_S = 60  # no other server looks whether it is locked yet
STOP_S = 25.0  # for requests in flight, once the grace is over
REFUSAL = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\nx-request-id: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
CONTINUE = b"HTTP/1.1 100 "
TRAILERS: Any = deque(maxlen=0)  # takes the headers that follow a body, and keeps none
UPGRADE = frozenset((b"upgrade", b"http2-settings"))

log = logging.getLogger("tabserve.process")


def prepare_supervisor() -> None:
    """What BentoML asks when it starts the workers, after this import: dead ones are replaced, in containers too, and
    within a second; and they share a folder that is of this server alone, where BentoML takes one of the home, which
    the next server on that home empties."""
    if in_worker():  # which starts none, and saves 5 MB of imports
        return
    import functools

    import bentoml._internal.utils.circus as circus
    import bentoml.serving

    os.environ.pop("BENTOML_CONTAINERIZED", None)
    if not isinstance(circus.create_standalone_arbiter, functools.partial):
        circus.create_standalone_arbiter = functools.partial(circus.create_standalone_arbiter, check_delay=1)
    bentoml.serving.ensure_prometheus_dir = new_shared_folder  # type: ignore[assignment]  # asked without arguments


def new_shared_folder() -> str:
    """A folder for this server, removed when it ends. Removes those of servers that could not."""
    for old in Path(tempfile.gettempdir()).glob(f"{SHARED_FOLDER}*"):
        with contextlib.suppress(OSError):  # it is another user's, or its server runs
            if time.time() - old.stat().st_mtime > SHARED_FOLDER_NEW_S:
                os.close(locked(old))
                shutil.rmtree(old)
    folder = Path(tempfile.mkdtemp(prefix=SHARED_FOLDER))
    locked(folder)  # as long as this process lives
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(folder)


def locked(folder: Path) -> int:
    """A file descriptor that holds a folder's lock. Raises BlockingIOError where another process does."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened


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
    """A file of one byte for each failed start; None outside of workers."""
    folder = shared_folder()
    return folder and folder / "failed_starts"


def shared_folder() -> Path | None:
    """The folder that the workers of this server share; None outside of workers."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder and in_worker() else None


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


class Together:
    """The transport of one answer: head and body leave by one system call, where uvicorn would take two. So it costs
    less, and a worker that is killed has sent of a usual answer all or nothing."""

    __slots__ = ("_head", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        head = self._head
        if head is None and not data.startswith(CONTINUE):
            self._head = data
        elif head:
            self._head = b""
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """A head whose body never came is not sent."""
        self._transport.close()


class Guarded(HttpToolsProtocol):
    """Refuses heads that do not end, and what is no HTTP by a problem document. Ignores every upgrade."""

    _head_bytes = 0  # received for a head that is not complete, along with
    _before_head = 0  # what came in one piece with its begin: some of these may belong to the request before
    _stopping = False
    _refused = False
    _refusal = b""

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        before = self.cycle
        in_body = before is not None and before.more_body and before.scope is self.scope
        self._head_bytes += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            log.debug("not valid HTTP", extra={"reason": str(error)})
            self.send_400_response("")
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope:  # not in a head
            self._head_bytes = self._before_head = 0
        elif in_body or cycle is not before:
            self._head_bytes = self._before_head = len(data)
        elif self._head_bytes - self._before_head > HEAD_BYTES:
            self._refuse_large_head()

    def _ignore_upgrade(self, rest: memoryview) -> None:
        """The parser stops behind the head of a request that asks for an upgrade, and takes the rest for another
        protocol. So a new parser reads that head again, without the upgrade, and then the rest."""
        while True:
            if self.scope["method"] == "CONNECT":
                self._refuse(400, "Bad request", "CONNECT is not possible here")
                return
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(head)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:  # of a request behind it
                rest = rest[upgrade.args[0] :]
            else:
                return

    def on_headers_complete(self) -> None:
        if self._head_bytes > HEAD_BYTES and self._head_size() > HEAD_BYTES:
            self._refuse_large_head()
            raise ValueError("head too large")  # ends the parser
        self.scope["arrived"] = time.monotonic()  # type: ignore[typeddict-unknown-key]  # for the lane
        super().on_headers_complete()
        self.headers = TRAILERS
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope and cycle.scope["method"] != "HEAD":
            cycle.transport = Together(self.transport)  # type: ignore[assignment]  # all that a cycle asks of one
        if self._stopping and not self._in_head():
            self.cycle.keep_alive = False

    def _in_head(self) -> bool:
        """Whether a head has begun and is not complete."""
        cycle = self.cycle  # of the last request with a complete head
        return self.scope is not None and (cycle is None or cycle.scope is not self.scope)

    def _in_body(self) -> bool:
        """Whether the body of the last request may not be complete."""
        cycle = self.cycle
        return cycle is not None and cycle.more_body and cycle.scope is self.scope

    def _head_size(self) -> int:
        fields = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n\r\n") + fields

    def shutdown(self) -> None:
        """Where no request has come yet, one may be on its way or received and not read: it gets a moment."""
        if self.cycle is None and not self._stopping:
            self._stopping = True
            self.loop.call_later(FIRST_REQUEST_S, super().shutdown)
        else:
            super().shutdown()

    def _should_upgrade(self) -> bool:
        """Asked only where a head asks for an upgrade: uvicorn's callbacks then do nothing but note the head."""
        return True

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.scope["method"].encode(), self.url, version)]
        for name, value in self.scope["headers"]:
            if name == b"connection":
                value = b", ".join(token for token in value.split(b",") if token.strip().lower() not in UPGRADE)
            if name not in UPGRADE:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"\r\n"])

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "Bad request", "the request is not valid HTTP")

    def timeout_keep_alive_handler(self) -> None:
        """Close, as no head has come in time; where a part of one has, not without a word."""
        if self._in_head():
            self._refuse(408, "Head too slow", "the head of the request did not come in time")
        else:
            super().timeout_keep_alive_handler()

    def _refuse_large_head(self) -> None:
        self._refuse(431, "Head too large", f"the head of the request is larger than {HEAD_BYTES} bytes")

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Answer behind what is under way, and close. What still comes is dropped."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        document = errors.problem(status, title, detail)
        request_id = os.urandom(8).hex().encode()
        self._refusal = REFUSAL % (status, title.encode(), errors.PROBLEM, request_id, len(document), document)
        cycle = self.cycle
        if not self._in_body():
            if cycle is None or cycle.response_complete:
                self._send_refusal()
        elif self.pipeline:  # the last request is broken, and has not started
            self.pipeline.popleft()
        elif cycle.response_started:  # nothing can be said any more
            self.transport.close()
        else:
            cycle.disconnected = True  # who answers it is told, and not heard
            cycle.message_event.set()
            self._send_refusal()

    def _send_refusal(self) -> None:
        self.transport.write(self._refusal)
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)  # to read on: a reset would swallow the answer

    def on_response_complete(self) -> None:
        if self._refused and not self.pipeline and not self.transport.is_closing():
            self._send_refusal()
        super().on_response_complete()


def guard(server: uvicorn.Server) -> "list[asyncio.Task[None]]":
    """Watch over the connections. Keep the tasks; they end when cancelled."""
    server.config.http_protocol_class = Guarded
    server.config.ws_protocol_class = None
    server.config.timeout_graceful_shutdown = int(STOP_S)
    logging.getLogger("uvicorn.access").propagate = False  # uvicorn writes a line where anyone would read it

    def protocol() -> Guarded:
        return Guarded(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)

    watches = (close_silent_connections(server), accept_connections(server, protocol, shared_folder()))
    return [asyncio.create_task(watch) for watch in watches]


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
                    connection.timeout_keep_alive_handler()
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
