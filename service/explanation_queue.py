"""The queue of explanations. They are computed in a separate process, so that they do not delay predictions."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from models.frame import Frame
from models.output_options import ExplanationArrays, ExtendedModel
from models.outputs import Outputs
from models.text import counted
from service.background_client import BackgroundClient, Fields, ProcessEnded, ProcessUnavailable, describe
from service.errors import DeadlinePassed, NotReady, QueueFull, TooManyEvaluations
from service.fair_lock import FairLock

BLOCK_EVALUATIONS = 8192  # evaluations in one turn of a request; the deadline is checked between turns
MAX_WAITING = 5  # the maximum evaluations in the queue, as a multiple of the maximum for one request
IDLE_S = 300.0  # seconds without explanations after which the process ends
RETRY_S = 600.0  # delay before the process tries again to load a version
log = logging.getLogger("tabserve.explanations")
T = TypeVar("T")


class ExplanationQueue:
    """Explains the rows of requests block by block; the blocks of several requests take turns."""

    def __init__(self, max_evaluations: int, trusted_keys: Sequence[Path] = ()) -> None:
        """max_evaluations: the maximum number of evaluations for one request. trusted_keys: as in
        `BackgroundClient`."""
        self.max_evaluations = max_evaluations
        self.waiting = 0  # evaluations of the requests in the queue
        self._waiting_of: Counter[str] = Counter()  # by client
        self._lock = FairLock()
        self._rate = 0.0  # evaluations per second
        self._client = BackgroundClient("explanation", trusted_keys)
        # the versions that this worker explains itself, and until when
        self._in_worker: dict[str, float] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._idle: asyncio.TimerHandle | None = None

    async def explain(
        self, model: ExtendedModel, frame: Frame, outputs: Outputs, deadline: float, client: str = ""
    ) -> Outputs:
        """The outputs with the explanation of each row.

        deadline: a time of `time.monotonic`. client: the name of the client; clients take turns.

        Raises TooManyEvaluations, QueueFull, NotReady or DeadlinePassed.
        """
        rows = len(frame.numbers)
        if rows > self.max_evaluations:  # each row takes more than one evaluation
            raise TooManyEvaluations(rows, self.max_evaluations)
        planned = await self._planned(deadline, model, frame)
        if planned > self.max_evaluations:
            raise TooManyEvaluations(planned, self.max_evaluations)
        if not self._has_room(client, planned):
            after = self.waiting / self._rate if self._rate else 1.0
            raise QueueFull(f"explanations that take {counted(self.waiting, 'evaluation')} are waiting", after)
        self.waiting += planned
        self._waiting_of[client] += planned
        size = max(1, BLOCK_EVALUATIONS * rows // planned)
        parts = []
        try:
            for start in range(0, rows, size):
                block = slice(start, start + size)
                async with self._lock.turn(client, min(size, rows - start)):
                    explained = await self._run(deadline, self._explain, model, frame.take(block))
                parts.append(explained.add_to(outputs.take(block)))
        finally:
            self.waiting -= planned
            self._waiting_of[client] -= planned
            if not self._waiting_of[client]:
                del self._waiting_of[client]
            self._stop_when_idle()
        return parts[0] if len(parts) == 1 else Outputs.concatenate(parts)

    async def _planned(self, deadline: float, model: ExtendedModel, frame: Frame) -> int:
        """The evaluations of a request. The evaluations of a single row are counted only if there may be too many.

        Without the count, the process receives one message instead of two, which means less work for the worker and
        less delay for the predictions that arrive meanwhile.
        """
        if len(frame.numbers) == 1 and (usual := model.common_evaluations(self.max_evaluations)) is not None:
            return usual
        return await self._run(deadline, self._count, model, frame)

    def _has_room(self, client: str, planned: int) -> bool:
        """Whether a request may enter the queue. A client below its fair share may enter even if other clients have
        filled the queue."""
        limit = MAX_WAITING * self.max_evaluations
        share = limit / len({*self._waiting_of, client})
        return self.waiting + planned <= limit or self._waiting_of[client] + planned <= share

    async def _run(
        self, deadline: float, work: Callable[[ExtendedModel, Frame], T], model: ExtendedModel, rows: Frame
    ) -> T:
        """The result of `work` in the explanation thread. Raises DeadlinePassed even if the thread has not
        finished."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlinePassed
        future = asyncio.get_running_loop().run_in_executor(self._thread, work, model, rows)
        # reads the exception even if the request has ended
        future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        done, _ = await asyncio.wait([future], timeout=left)
        if not done:
            future.cancel()
            raise DeadlinePassed
        return future.result()

    def _count(self, model: ExtendedModel, frame: Frame) -> int:
        return self._compute(model, self._count_in_process, ExtendedModel.count_evaluations, frame)

    def _explain(self, model: ExtendedModel, frame: Frame) -> ExplanationArrays:
        started = time.monotonic()
        explained = self._compute(model, self._explain_in_process, ExtendedModel.explain, frame)
        self._rate = explained.evaluations / max(time.monotonic() - started, 1e-6)
        return explained

    def _count_in_process(self, model: ExtendedModel, frame: Frame) -> int:
        return int(self._client.request("count", describe_extended(model), frame).fields["evaluations"])

    def _explain_in_process(self, model: ExtendedModel, frame: Frame) -> ExplanationArrays:
        return ExplanationArrays(*self._client.request("explain", describe_extended(model), frame).arrays)

    def _compute(
        self,
        model: ExtendedModel,
        in_process: Callable[[ExtendedModel, Frame], T],
        in_worker: Callable[[ExtendedModel, Frame], T],
        frame: Frame,
    ) -> T:
        """Run work in the explanation process, or in this worker if the process cannot load the version.

        Raises NotReady.
        """
        tag = model.model.tag
        if model.model.folder is None or self._in_worker.get(tag, 0.0) > time.monotonic():
            return in_worker(model, frame)
        try:
            return in_process(model, frame)
        except ProcessUnavailable as error:
            log.warning("explained by the worker itself", extra={"model": tag, "reason": str(error)})
            self._in_worker[tag] = time.monotonic() + RETRY_S
            return in_worker(model, frame)
        except ProcessEnded:
            raise NotReady("the explanation process has ended; the next request starts another one") from None

    def _stop_when_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._thread.submit, self._client.stop)

    def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._client.close()
        self._thread.submit(self._client.stop)
        self._thread.shutdown(wait=False)


def describe_extended(model: ExtendedModel) -> Fields:
    """The fields that the explanation process needs for predictions of this version. Raises ProcessUnavailable."""
    return describe(model.model) | {"explain": model.options.explain}
