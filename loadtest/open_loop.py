"""An open-loop load generator: it sends requests at their scheduled times, whether or not responses arrive.

One process with one event loop and keep-alive connections. A request that finds no free connection waits, and its
latency includes the wait. Nothing is shared with Locust, whose users wait for their responses.
"""

import asyncio
import gc
import itertools
import math
import select
import selectors
import ssl
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httptools
import numpy as np

from loadtest.api_key import key_headers
from loadtest.request_plan import RequestPlan
from loadtest.request_records import RequestRecords, Seconds
from loadtest.response_check import MISSING, MIXED_UP, REFUSED

CONNECTIONS = 256
WARM_CONNECTIONS = 16
IDLE_S = 1.0  # the server may close connections that are idle for longer, and no request is repeated
SWEEP_S = 0.25
BURST = 32  # requests sent in a row before responses are read
Progress = Callable[["RunProgress"], None]


@dataclass(frozen=True)
class RunProgress:
    """Totals since the start of a run."""

    seconds: float
    due: int
    answered: int
    errors: int
    latencies: Sequence[float]  # latencies of the last second


class FineSelector(selectors.DefaultSelector):
    """Waits with microsecond precision. epoll waits whole milliseconds, so requests would be sent late."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if sys.platform == "linux" and timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def run(
    url: str,
    plan: RequestPlan,
    due: Seconds,
    seconds: float,
    *,
    rng: np.random.Generator,
    timeout_s: float = 10.0,
    connections: int = CONNECTIONS,
    progress: Progress | None = None,
) -> RequestRecords:
    """Send each request when it is due, wait for the last responses, and return the measurements."""
    order = rng.choice(len(plan.requests), size=len(due), p=plan.weights())
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(FineSelector())) as runner:
        generator = OpenLoopGenerator(url, plan, due, array("i", order.tolist()), timeout_s, connections)
        gc.collect()
        gc.freeze()
        gc.disable()  # a garbage collection would delay the generator and be measured as a delay of the server
        try:
            return runner.run(generator.run(seconds, progress))
        finally:
            gc.enable()
            gc.unfreeze()


class OpenLoopGenerator:
    """The state of a run. A request is identified by its index in the order of due times."""

    def __init__(
        self, url: str, plan: RequestPlan, due: Seconds, order: "array[int]", timeout_s: float, connections: int
    ) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls else 80)
        self.plan = plan
        self.timeout_s = timeout_s
        self.connections = connections  # maximum
        self.order = order
        self.offsets = array("d", due.tolist())
        self.heads = [head(parts.netloc, parts.path.rstrip("/"), request) for request in plan.requests]
        self.kinds: dict[str | None, int] = {None: 0}
        count = len(order)
        self.processed, self.sent, self.done = (array("d", [math.nan]) * count for _ in range(3))
        self.outcome = array("i", [0]) * count
        self.idle: list[OpenLoopConnection] = []
        self.open: set[OpenLoopConnection] = set()
        self.opening = 0
        self.waiting: deque[int] = deque()
        self.next = self.settled = self.errors = 0
        self.recent: list[float] = []
        self.cpu: list[tuple[float, float]] = []

    async def run(self, seconds: float, progress: Progress | None) -> RequestRecords:
        self.loop = asyncio.get_running_loop()
        self.finished = asyncio.Event()
        await asyncio.gather(*[self._open() for _ in range(min(WARM_CONNECTIONS, len(self.order)))])
        self.start = self.loop.time() + 0.05
        used = time.process_time()
        helpers = [asyncio.create_task(self._sweep()), asyncio.create_task(self._watch(used, progress))]
        self.loop.call_at(self.start, self._tick)
        await self.finished.wait()
        rest = self.start + seconds - self.loop.time()
        await asyncio.sleep(max(rest, 0.0))
        self.cpu.append((self.loop.time() - self.start, time.process_time() - used))
        for helper in helpers:
            helper.cancel()
        for connection in list(self.open):
            connection.close()
        await asyncio.sleep(0)
        return self._records(seconds)

    def _tick(self) -> None:
        """Process the requests that are due, and schedule the next call."""
        if not self.order:
            self.finished.set()
            return
        for _ in range(BURST):
            now = self.loop.time() - self.start
            if self.next == len(self.order):
                return
            if self.offsets[self.next] > now:
                self.loop.call_at(self.start + self.offsets[self.next], self._tick)
                return
            self.processed[self.next] = now
            self.waiting.append(self.next)
            self.next += 1
            self.feed()
        self.loop.call_soon(self._tick)

    def feed(self) -> None:
        """Send waiting requests over free connections; open a connection if none is free."""
        while self.waiting and self.idle:
            connection = self.idle.pop()
            if self.loop.time() - connection.last_used > IDLE_S:
                connection.close()
            else:
                index = self.waiting.popleft()
                self.sent[index] = self.loop.time() - self.start
                connection.send(index, self.heads[self.order[index]], self.plan.requests[self.order[index]].body)
        if len(self.waiting) > self.opening and len(self.open) + self.opening < self.connections:
            self.opening += 1
            task = self.loop.create_task(self._open_one_more())
            task.add_done_callback(lambda done: done.exception())

    async def _open_one_more(self) -> None:
        try:
            await self._open()
        except OSError:
            if self.waiting:
                self.settle(self.waiting.popleft(), REFUSED)
        finally:
            self.opening -= 1
        self.feed()

    async def _open(self) -> None:
        await self.loop.create_connection(lambda: OpenLoopConnection(self), self.host, self.port, ssl=self.tls)

    def settle(self, index: int, error: str | None) -> None:
        """Record the end of a request."""
        now = self.loop.time() - self.start
        self.done[index] = now
        if math.isnan(self.sent[index]):
            self.sent[index] = now
        self.outcome[index] = self.kinds.setdefault(error, len(self.kinds))
        self.settled += 1
        self.errors += error is not None
        self.recent.append(now - self.offsets[index])
        if self.settled == len(self.order):
            self.finished.set()

    async def _sweep(self) -> None:
        """Stop waiting for responses after the timeout."""
        while True:
            await asyncio.sleep(SWEEP_S)
            late = self.loop.time() - self.start - self.timeout_s
            for connection in list(self.open):
                if connection.index is not None and self.sent[connection.index] < late:
                    connection.give_up()
            while self.waiting and self.offsets[self.waiting[0]] < late:
                self.settle(self.waiting.popleft(), MISSING)

    async def _watch(self, used: float, progress: Progress | None) -> None:
        for second in itertools.count(1):
            await asyncio.sleep(self.start + second - self.loop.time())
            seconds = self.loop.time() - self.start
            self.cpu.append((seconds, time.process_time() - used))
            recent, self.recent = self.recent, []
            if progress:
                progress(RunProgress(seconds, self.next, self.settled, self.errors, recent))

    def _records(self, seconds: float) -> RequestRecords:
        requests = self.plan.requests
        return RequestRecords(
            due=np.array(self.offsets),
            processed=np.array(self.processed),
            sent=np.array(self.sent),
            done=np.array(self.done),
            kind=np.array(self.outcome, dtype=np.int32),
            request=np.array(self.order, dtype=np.int32),
            rows=np.array([requests[index].rows for index in self.order], dtype=np.int32),
            kinds=[kind or "good" for kind in self.kinds],
            names=[request.name for request in requests],
            cpu=self.cpu,
            seconds=seconds,
            start=self.start,
        )


def head(netloc: str, prefix: str, request: Any) -> bytes:
    """The start of a request, up to the value of its request id, which is the last header."""
    lines = (
        f"POST {prefix}{request.path} HTTP/1.1",
        f"Host: {netloc}",
        f"Content-Type: {request.content_type}",
        f"Content-Length: {len(request.body)}",
        *(f"{name}: {value}" for name, value in key_headers().items()),
        "X-Request-ID: ",
    )
    return "\r\n".join(lines).encode()


class OpenLoopConnection(asyncio.Protocol):
    """A connection: sends at most one request at a time, and parses and checks its response."""

    def __init__(self, generator: OpenLoopGenerator) -> None:
        self.generator = generator
        self.index: int | None = None
        self.last_used = 0.0
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.generator.open.add(self)
        self._rest()

    def _rest(self) -> None:
        self.last_used = self.generator.loop.time()
        self.generator.idle.append(self)

    def send(self, index: int, head: bytes, body: bytes) -> None:
        self.index = index
        self.id = b"%x" % index
        self.echo = self.id
        self.parts: list[bytes] = []
        self.transport.write(b"%b%b\r\n\r\n%b" % (head, self.id, body))

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._settle("invalid HTTP")
            self.close()

    # Parser callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 12 and name.lower() == b"x-request-id":
            self.echo = value

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        if self.index is None:
            return
        generator = self.generator
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        error = generator.plan.error_of(generator.order[self.index], self.parser.get_status_code(), body)
        if self.echo != self.id:
            error = MIXED_UP
        keep = self.parser.should_keep_alive()
        self._settle(error)
        if keep:
            self._rest()
        else:
            self.close()
        generator.feed()

    # The end of a request and of a connection

    def _settle(self, error: str | None) -> None:
        index, self.index = self.index, None
        if index is not None:
            self.generator.settle(index, error)

    def give_up(self) -> None:
        self._settle(MISSING)
        self.close()

    def close(self) -> None:
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        generator = self.generator
        generator.open.discard(self)
        if self in generator.idle:
            generator.idle.remove(self)
        self._settle(MISSING)
        generator.feed()
