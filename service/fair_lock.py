"""A lock for which clients take turns, regardless of the number of their waiting tasks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service.fair_queue import FairQueue


class FairLock:
    """A lock that one task holds at a time."""

    def __init__(self) -> None:
        self._waiting: FairQueue[tuple[asyncio.Future[None], float]] = FairQueue()
        self._held = False

    @contextlib.asynccontextmanager
    async def turn(self, client: str, cost: float) -> AsyncIterator[None]:
        """Hold the lock. cost: the cost of the client's turn."""
        if self._held:
            await self._wait(client, cost)
        self._held = True
        try:
            yield
        finally:
            self._release()

    async def _wait(self, client: str, cost: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(client, (future, cost))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # cancelled after it had received the lock
                self._release()
            raise

    def _release(self) -> None:
        """Give the lock to the next task."""
        while len(self._waiting):
            future, cost = self._waiting.pop()
            if future.done():
                self._waiting.charge(0.0)
                continue
            self._waiting.charge(cost)
            future.set_result(None)
            return
        self._held = False
