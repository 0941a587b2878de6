"""The queue of explanations. It has a thread of its own, so explanations do not delay predictions."""

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from models.frame import Frame
from models.optional_columns import DETAILS, EVALUATIONS
from models.output_options import ExtendedModel
from models.outputs import Outputs
from service.errors import DeadlinePassed, QueueFull, TooManyEvaluations
from service.fair_lock import FairLock

if TYPE_CHECKING:  # imported with the first explanation, see models.output_options
    from models.explanation.explainer import RowsToExplain

BLOCK_EVALUATIONS = 8192  # between two checks of the deadline, and before the next request's turn
MAX_WAITING = 5  # times the limit of one request


class ExplanationQueue:
    """Explains the rows of requests block by block; the blocks of several requests take turns."""

    def __init__(self, max_evaluations: int) -> None:
        """max_evaluations: of one request."""
        self.max_evaluations = max_evaluations
        self.waiting = 0  # evaluations of the requests in the queue
        self._waiting_of: Counter[str] = Counter()  # of each client
        self._lock = FairLock()
        self._rate = 0.0  # evaluations per second
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")

    async def explain(
        self, model: ExtendedModel, frame: Frame, outputs: Outputs, deadline: float, client: str = ""
    ) -> Outputs:
        """The outputs with the explanation of each row. deadline: on the clock of time.monotonic. client: takes turns
        with the others.

        Raises TooManyEvaluations, QueueFull or DeadlinePassed.
        """
        assert model.explainer is not None
        loop, rows = asyncio.get_running_loop(), len(frame.numbers)
        if rows > self.max_evaluations:  # each row takes more than one evaluation
            raise TooManyEvaluations(rows, self.max_evaluations)
        prepared = await loop.run_in_executor(self._thread, model.explainer.prepare, frame)
        planned = prepared.evaluations
        if planned > self.max_evaluations:
            raise TooManyEvaluations(planned, self.max_evaluations)
        if not self._has_room(client, planned):
            after = self.waiting / self._rate if self._rate else 1.0
            raise QueueFull(f"explanations that take {self.waiting} evaluations are waiting", after)
        self.waiting += planned
        self._waiting_of[client] += planned
        size = max(1, BLOCK_EVALUATIONS * rows // planned)
        parts = []
        try:
            for start in range(0, rows, size):
                if time.monotonic() >= deadline:
                    raise DeadlinePassed
                block = slice(start, start + size)
                async with self._lock.turn(client, min(size, rows - start)):
                    parts.append(await loop.run_in_executor(self._thread, self._block, model, prepared, block, outputs))
        finally:
            self.waiting -= planned
            self._waiting_of[client] -= planned
            if not self._waiting_of[client]:
                del self._waiting_of[client]
        return parts[0] if len(parts) == 1 else Outputs.concatenate(parts)

    def _has_room(self, client: str, planned: int) -> bool:
        """Whether a request may wait. A client below its share may also if others have filled the queue."""
        limit = MAX_WAITING * self.max_evaluations
        share = limit / len({*self._waiting_of, client})
        return self.waiting + planned <= limit or self._waiting_of[client] + planned <= share

    def _block(self, model: ExtendedModel, rows: "RowsToExplain", block: slice, outputs: Outputs) -> Outputs:
        started = time.monotonic()
        explained = model.explain(rows, block, outputs.take(block))
        count = float(np.sum(explained.extras[DETAILS][:, EVALUATIONS]))
        self._rate = count / max(time.monotonic() - started, 1e-6)
        return explained

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
