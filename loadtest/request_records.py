"""The measurements of a run: when each request was due, sent and answered, and whether the response was correct."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

GOOD = 0  # the first of `Records.kinds`


@dataclass
class RequestRecords:
    """One entry per request, in the order of `due`; times in seconds since the start of the run.

    due: when the request was scheduled. processed: when the generator processed it. sent: when a connection was free
    for it. done: when the response was complete, or the request had failed. kind: index into `kinds`. request: index
    into `names`.
    cpu: (time, CPU seconds of the generator so far), about once per second. start: the start of the run on the clock of
    time.monotonic.
    """

    due: Seconds
    processed: Seconds
    sent: Seconds
    done: Seconds
    kind: Codes
    request: Codes
    rows: Codes
    kinds: Sequence[str]
    names: Sequence[str]
    cpu: Sequence[tuple[float, float]]
    seconds: float
    start: float = 0.0

    @cached_property
    def latency(self) -> Seconds:
        """Seconds from the due time to the response: a stall of the server delays all requests that were due during the
        stall.
        """
        return self.done - self.due

    @cached_property
    def lag(self) -> Seconds:
        """How late the generator processed each request."""
        return self.processed - self.due

    @cached_property
    def good(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.kind, GOOD)

    def overlapping(self, intervals: Sequence[tuple[float, float]]) -> npt.NDArray[np.bool_]:
        """The requests that waited during one of these intervals, on the clock of time.monotonic."""
        due, done = self.due + self.start, self.done + self.start
        found = np.zeros(len(due), dtype=bool)
        for begin, end in intervals:
            found |= (due < end) & (done > begin)
        return found

    def closed_loop(self) -> Seconds:
        """The latencies that a closed loop would have measured: users who wait for a response before the next request,
        and count from sending. The number of users follows from the rate by Little's law, at least one.

        Requests that were due while all users waited would not have been sent, so they are left out. In this way a
        closed loop hides a stall.
        """
        service = self.done - self.sent
        if not len(service) or self.seconds <= 0:
            return service
        users = max(1, round(len(service) / self.seconds * float(np.median(service))))
        free = [0.0] * users
        included = []
        for index, (due, wait) in enumerate(zip(self.due.tolist(), service.tolist(), strict=True)):
            if free[0] <= due:
                heapq.heapreplace(free, due + wait)
                included.append(index)
        return service[included]
