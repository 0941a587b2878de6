"""The queue of explanations. It has a thread of its own, so explanations do not delay predictions."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from models.frame import Frame
from models.optional_columns import DETAILS, EVALUATIONS
from models.output_options import ExtendedModel
from models.outputs import Outputs
from service.errors import DeadlinePassed, QueueFull, TooManyEvaluations

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
        self._rate = 0.0  # evaluations per second
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")

    async def explain(self, model: ExtendedModel, frame: Frame, outputs: Outputs, deadline: float) -> Outputs:
        """The outputs with the explanation of each row. deadline: on the clock of time.monotonic.

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
        if self.waiting + planned > MAX_WAITING * self.max_evaluations:
            after = self.waiting / self._rate if self._rate else 1.0
            raise QueueFull(f"explanations that take {self.waiting} evaluations are waiting", after)
        self.waiting += planned
        size = max(1, BLOCK_EVALUATIONS * rows // planned)
        parts = []
        try:
            for start in range(0, rows, size):
                if time.monotonic() >= deadline:
                    raise DeadlinePassed
                block = slice(start, start + size)
                parts.append(await loop.run_in_executor(self._thread, self._block, model, prepared, block, outputs))
        finally:
            self.waiting -= planned
        return parts[0] if len(parts) == 1 else Outputs.concatenate(parts)

    def _block(self, model: ExtendedModel, rows: "RowsToExplain", block: slice, outputs: Outputs) -> Outputs:
        started = time.monotonic()
        explained = model.explain(rows, block, outputs.take(block))
        count = float(np.sum(explained.extras[DETAILS][:, EVALUATIONS]))
        self._rate = count / max(time.monotonic() - started, 1e-6)
        return explained

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
