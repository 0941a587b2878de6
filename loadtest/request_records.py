"""What a generator saw: for each request the moments it was due, taken up, sent and answered, and what came."""

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
    """One entry a request, in the order they were due; moments in seconds since the start of the run.

    due: when it had to be sent. taken: when the generator came to it. sent: when a connection was free for it.
    done: when the answer was there, or it was clear that none would come. kind: index into `kinds`. ask: into `names`.
    cpu: (moment, processor seconds of the generator so far) about once a second.
    """

    due: Seconds
    taken: Seconds
    sent: Seconds
    done: Seconds
    kind: Codes
    ask: Codes
    rows: Codes
    kinds: Sequence[str]
    names: Sequence[str]
    cpu: Sequence[tuple[float, float]]
    seconds: float

    @cached_property
    def latency(self) -> Seconds:
        """From the moment a request was due. A server that stalls keeps nothing from this figure."""
        return self.done - self.due

    @cached_property
    def lag(self) -> Seconds:
        """How late the generator itself was."""
        return self.taken - self.due

    @cached_property
    def good(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.kind, GOOD)

    def closed_loop(self) -> Seconds:
        """The usual figure, of the same answers: what users would have measured who wait for one answer before they ask
        again, and who count from sending. As many users as the rate keeps busy (Little's law), at least one.

        A request that was due while all users waited is one that they would not have sent, so it is not in the figure:
        this is how a stall hides.
        """
        service = self.done - self.sent
        if not len(service) or self.seconds <= 0:
            return service
        users = max(1, round(len(service) / self.seconds * float(np.median(service))))
        free = [0.0] * users
        taken = []
        for place, (due, wait) in enumerate(zip(self.due.tolist(), service.tolist(), strict=True)):
            if free[0] <= due:
                heapq.heapreplace(free, due + wait)
                taken.append(place)
        return service[taken]
