"""Turns of clients on the event loop, used only while it handles many requests of several clients.

Many requests are parsed and predicted on the event loop, in the order in which they are read from the sockets. Without
turns, a client with 100 connections would receive ten times as many responses as a client with 10. A request takes its
turn when its body is complete, before the body is parsed.
"""

import asyncio
import time

from service.fair_queue import FairQueue

LATE_S = 0.0005  # a longer delay between arrival and start indicates a busy event loop
CONTENDED_S = 1.0  # time since the last request of another client: a single client needs no turns
REQUEST_COST = 4096.0  # fixed cost of a request in addition to the bytes of its body
ITERATION_COST = 4 * REQUEST_COST  # cost of one iteration of the event loop, after which other sockets are read
CREDIT = 64 * REQUEST_COST  # credit of a client whose next requests are in transit: a few milliseconds of the loop


class FairTurns:
    """The requests that wait for a turn of their client."""

    def __init__(self) -> None:
        self._waiting: FairQueue[tuple[asyncio.Future[None], float]] = FairQueue(CREDIT)
        self._scheduled = False
        self._spent = 0.0  # the cost in this iteration of the event loop
        self._last_client = ""
        self._contended_until = 0.0

    def admits(self, client: str, size: int, arrived: float) -> bool:
        """Whether a request may start at once, which then counts as a turn. Otherwise it has to `wait`.

        size: the bytes of its body. arrived: a time of `time.monotonic`.
        """
        if self._scheduled:
            return False
        if client == self._last_client and arrived >= self._contended_until:
            return True
        now = time.monotonic()
        if client != self._last_client:
            self._last_client = client
            self._contended_until = now + CONTENDED_S
        if now >= self._contended_until:
            return True
        if self._spent >= ITERATION_COST or now - arrived > LATE_S:
            return False
        if not self._spent:
            asyncio.get_running_loop().call_soon(self._next_iteration)
        self._spent += REQUEST_COST + size
        self._waiting.spend(client, REQUEST_COST + size)
        return True

    def _next_iteration(self) -> None:
        self._spent = 0.0

    async def wait(self, client: str, size: int) -> None:
        """Wait for the client's turn. size: the bytes of the body."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.push(client, (future, REQUEST_COST + size))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._start_next, loop)
        await future

    def _start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        spent = 0.0
        while spent < ITERATION_COST and len(self._waiting):
            future, cost = self._waiting.pop()
            if future.done():  # the request was cancelled
                self._waiting.charge(0.0)
                continue
            self._waiting.charge(cost)
            future.set_result(None)
            spent += cost
        self._scheduled = len(self._waiting) > 0
        if self._scheduled:
            loop.call_soon(self._start_next, loop)
