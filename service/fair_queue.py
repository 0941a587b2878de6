"""A queue in which clients take turns, however many items each of them has.

Each client has its own line. The next item comes from the client that has cost least so far (start-time fair queueing).
An idle client does not accumulate credit: it starts at the cost of the clients that wait.
"""

import heapq
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
MAX_REMEMBERED = 1000  # clients whose cost is kept while they have no items


class FairQueue(Generic[T]):
    """Call `pop`, then perhaps `push` for an item that is not done, then `charge`."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}
        self._order: list[tuple[float, int, str]] = []  # a heap: the cost of each client with a line, and a tie-break
        self._count = self._turns = 0
        self._clock = 0.0  # the virtual time: the cost of the last served client at its turn
        self._costs: dict[str, float] = {}  # costs of clients without a line
        self._current = ("", 0.0)

    def __len__(self) -> int:
        return self._count

    def push(self, client: str, item: T) -> None:
        """Add an item at the end of the client's line."""
        line = self._lines.get(client)
        if line is None:
            line = self._lines[client] = deque()
            self._enter(client, max(self._costs.pop(client, 0.0), self._clock))
        line.append(item)
        self._count += 1

    def pop(self) -> T:
        """The next item. The queue must not be empty."""
        while True:
            cost, _, client = heapq.heappop(self._order)
            self._clock = cost
            self._current = client, cost
            if line := self._lines[client]:
                self._count -= 1
                return line.popleft()
            self.charge(0.0)  # all its items were removed

    def charge(self, cost: float) -> None:
        """Add to the cost of the client whose item was popped last."""
        client, before = self._current
        if self._lines[client]:
            self._enter(client, before + cost)
            return
        del self._lines[client]
        if len(self._costs) >= MAX_REMEMBERED:
            self._costs.clear()  # all start at the cost of those that wait
        self._costs[client] = before + cost

    def remove_last(self, client: str, removable: Callable[[T], bool]) -> T | None:
        """Remove the newest removable item of a client; None if it has none."""
        line = self._lines.get(client, ())
        for place in range(len(line) - 1, -1, -1):
            if removable(line[place]):
                item = line[place]
                del self._lines[client][place]
                self._count -= 1
                return item
        return None

    def _enter(self, client: str, cost: float) -> None:
        self._turns += 1
        heapq.heappush(self._order, (cost, self._turns, client))
