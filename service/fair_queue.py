"""A queue in which clients take turns, regardless of the number of items that each of them has.

Each client has its own line of items. The next item comes from the client with the lowest total cost so far (start-time
fair queueing). An idle client accumulates no credit, or a limited credit: it starts near the cost of the waiting
clients.
"""

import heapq
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
MAX_REMEMBERED = 1000  # the maximum number of clients without items whose costs are stored


class FairQueue(Generic[T]):
    """The queue. Call `pop`, then `push` if the item is not done, then `charge`."""

    def __init__(self, credit: float = 0.0) -> None:
        """credit: the amount by which the cost of a client that returns to the queue may be below the costs of the
        other clients.

        A client with few items sometimes has no item in the queue, although it sends the next item as soon as it can.
        Without a credit, the client would lose the turns that it misses in between.
        """
        self._credit = credit
        self._lines: dict[str, deque[T]] = {}
        self._order: list[tuple[float, int, str]] = []  # a heap: the cost of each client in `_lines`, and a tie-break
        self._count = self._turns = 0
        self._clock = 0.0  # the virtual time: the highest cost of a served client at its turn
        self._costs: dict[str, float] = {}  # costs of clients that are not in `_lines`
        self._current = ("", 0.0)

    def __len__(self) -> int:
        return self._count

    def push(self, client: str, item: T) -> None:
        """Add an item at the end of the client's line."""
        line = self._lines.get(client)
        if line is None:
            line = self._lines[client] = deque()
            cost = self._cost_of(client)
            self._costs.pop(client, None)
            self._enter(client, cost)
        line.append(item)
        self._count += 1

    def pop(self) -> T:
        """The next item. The queue must not be empty."""
        while True:
            cost, _, client = heapq.heappop(self._order)
            self._clock = max(self._clock, cost)  # a cost that was lowered by a credit does not set the clock back
            self._current = client, cost
            if line := self._lines[client]:
                self._count -= 1
                return line.popleft()
            self.charge(0.0)  # all items of the client were removed

    def charge(self, cost: float) -> None:
        """Add a cost to the client whose item was popped last."""
        client, before = self._current
        if self._lines[client]:
            self._enter(client, before + cost)
            return
        del self._lines[client]
        self._remember(client, before + cost)

    def spend(self, client: str, cost: float) -> None:
        """Add the cost of an item that did not wait, for a client that has no items in the queue."""
        spent = self._cost_of(client) + cost
        self._remember(client, spent)
        self._clock = max(self._clock, spent - self._credit)

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

    def _cost_of(self, client: str) -> float:
        """The cost of a client that is not in `_lines`."""
        return max(self._costs.get(client, self._clock), self._clock - self._credit)

    def _remember(self, client: str, cost: float) -> None:
        if len(self._costs) >= MAX_REMEMBERED:
            self._costs.clear()  # all clients start again at the cost of the waiting clients
        self._costs[client] = cost

    def _enter(self, client: str, cost: float) -> None:
        self._turns += 1
        heapq.heappush(self._order, (cost, self._turns, client))
