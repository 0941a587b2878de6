"""The open loop: requests leave at the moments they are due, whether or not answers come.

One process, one event loop, connections that are kept. A request that finds no free connection waits, and its clock
runs on. Nothing is shared with Locust, whose users wait for their answers.
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

from loadtest.answer_check import MISSING, MIXED_UP, REFUSED
from loadtest.plan import RequestPlan
from loadtest.request_records import RequestRecords, Seconds

CONNECTIONS = 256
WARM_CONNECTIONS = 16
IDLE_S = 1.0  # a connection that was unused for longer may just be closed by the server, and nothing is asked twice
SWEEP_S = 0.25
BURST = 32  # requests sent in a row before answers get their turn
Progress = Callable[["RunProgress"], None]


@dataclass(frozen=True)
class RunProgress:
    """How a run stands: totals since its start."""

    moment: float
    due: int
    answered: int
    faults: int
    latencies: Sequence[float]  # of the last second


class FineSelector(selectors.DefaultSelector):
    """Waits to the microsecond where epoll alone waits whole milliseconds, by which a request would leave late."""

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
    """Send each request when it is due, wait for the last answers, and say what came."""
    order = rng.choice(len(plan.asks), size=len(due), p=plan.weights())
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(FineSelector())) as runner:
        generator = OpenLoopGenerator(url, plan, due, array("i", order.tolist()), timeout_s, connections)
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the middle would be the generator's stall, told as the server's
        try:
            return runner.run(generator.run(seconds, progress))
        finally:
            gc.enable()
            gc.unfreeze()


class OpenLoopGenerator:
    """The state of a run. Requests are known by their place in the order they are due."""

    def __init__(
        self, url: str, plan: RequestPlan, due: Seconds, order: "array[int]", timeout_s: float, connections: int
    ) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls else 80)
        self.plan = plan
        self.timeout_s = timeout_s
        self.connections = connections  # at most
        self.order = order
        self.offsets = array("d", due.tolist())
        self.heads = [head(parts.netloc, parts.path.rstrip("/"), ask) for ask in plan.asks]
        self.kinds: dict[str | None, int] = {None: 0}
        count = len(order)
        self.taken, self.sent, self.done = (array("d", [math.nan]) * count for _ in range(3))
        self.outcome = array("i", [0]) * count
        self.idle: list[OpenLoopConnection] = []
        self.open: set[OpenLoopConnection] = set()
        self.opening = 0
        self.waiting: deque[int] = deque()
        self.next = self.settled = self.faults = 0
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
        """Take up what is due, and come again for the next."""
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
            self.taken[self.next] = now
            self.waiting.append(self.next)
            self.next += 1
            self.feed()
        self.loop.call_soon(self._tick)

    def feed(self) -> None:
        """Give waiting requests to free connections; open one more where there is none."""
        while self.waiting and self.idle:
            connection = self.idle.pop()
            if self.loop.time() - connection.last > IDLE_S:
                connection.close()
            else:
                place = self.waiting.popleft()
                self.sent[place] = self.loop.time() - self.start
                connection.send(place, self.heads[self.order[place]], self.plan.asks[self.order[place]].body)
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

    def settle(self, place: int, fault: str | None) -> None:
        """A request is over."""
        now = self.loop.time() - self.start
        self.done[place] = now
        if math.isnan(self.sent[place]):
            self.sent[place] = now
        self.outcome[place] = self.kinds.setdefault(fault, len(self.kinds))
        self.settled += 1
        self.faults += fault is not None
        self.recent.append(now - self.offsets[place])
        if self.settled == len(self.order):
            self.finished.set()

    async def _sweep(self) -> None:
        """Give up on what has had no answer for too long."""
        while True:
            await asyncio.sleep(SWEEP_S)
            late = self.loop.time() - self.start - self.timeout_s
            for connection in list(self.open):
                if connection.place is not None and self.sent[connection.place] < late:
                    connection.give_up()
            while self.waiting and self.offsets[self.waiting[0]] < late:
                self.settle(self.waiting.popleft(), MISSING)

    async def _watch(self, used: float, progress: Progress | None) -> None:
        for second in itertools.count(1):
            await asyncio.sleep(self.start + second - self.loop.time())
            moment = self.loop.time() - self.start
            self.cpu.append((moment, time.process_time() - used))
            recent, self.recent = self.recent, []
            if progress:
                progress(RunProgress(moment, self.next, self.settled, self.faults, recent))

    def _records(self, seconds: float) -> RequestRecords:
        asks = self.plan.asks
        return RequestRecords(
            due=np.array(self.offsets),
            taken=np.array(self.taken),
            sent=np.array(self.sent),
            done=np.array(self.done),
            kind=np.array(self.outcome, dtype=np.int32),
            ask=np.array(self.order, dtype=np.int32),
            rows=np.array([asks[place].rows for place in self.order], dtype=np.int32),
            kinds=[kind or "good" for kind in self.kinds],
            names=[ask.name for ask in asks],
            cpu=self.cpu,
            seconds=seconds,
        )


def head(netloc: str, prefix: str, ask: Any) -> bytes:
    """A request up to the value of its id, which is the last header."""
    lines = (
        f"POST {prefix}{ask.path} HTTP/1.1",
        f"Host: {netloc}",
        f"Content-Type: {ask.content_type}",
        f"Content-Length: {len(ask.body)}",
        "X-Request-ID: ",
    )
    return "\r\n".join(lines).encode()


class OpenLoopConnection(asyncio.Protocol):
    """One connection: at most one request at a time, its answer parsed and handed over."""

    def __init__(self, generator: OpenLoopGenerator) -> None:
        self.generator = generator
        self.place: int | None = None
        self.last = 0.0
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.generator.open.add(self)
        self._rest()

    def _rest(self) -> None:
        self.last = self.generator.loop.time()
        self.generator.idle.append(self)

    def send(self, place: int, head: bytes, body: bytes) -> None:
        self.place = place
        self.id = b"%x" % place
        self.echo = self.id
        self.parts: list[bytes] = []
        self.transport.write(b"%b%b\r\n\r\n%b" % (head, self.id, body))

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._settle("no HTTP")
            self.close()

    # Called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 12 and name.lower() == b"x-request-id":
            self.echo = value

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        if self.place is None:
            return
        generator = self.generator
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        fault = generator.plan.fault(generator.order[self.place], self.parser.get_status_code(), body)
        if self.echo != self.id:
            fault = MIXED_UP
        keep = self.parser.should_keep_alive()
        self._settle(fault)
        if keep:
            self._rest()
        else:
            self.close()
        generator.feed()

    # The end

    def _settle(self, fault: str | None) -> None:
        place, self.place = self.place, None
        if place is not None:
            self.generator.settle(place, fault)

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
