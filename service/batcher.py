"""Waits for nothing, merges what is waiting: one batcher per model.

A small prediction of a fast engine runs at once, where it is asked for. Everything else runs in one thread, one call at
a time; what arrives meanwhile is predicted together by the next call. There is no timer and no polling.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.frame import Frame
from models.outputs import Outputs
from models.tabular_model import TabularModel
from service.engine_cost import EngineCost
from service.errors import ClientDisconnected, DeadlinePassed, EngineFailed, QueueFull, RequestError
from service.metrics import ModelCounters
from service.settings import Switch

INLINE_S = 0.002  # how long a prediction may hold up the event loop
FIXED_S = 0.0001  # a call that costs this much even for one row is worth sharing, which costs a request 40 to 130 µs
CHUNK_S = 0.01  # how long a part of a large request may hold up a small one
DOUBTFUL_FACTOR = 3.0  # a busy machine makes an engine look slower by less
MAX_CHUNK = 2048
MAX_BATCH = 4096
MAX_CALLS = 4  # that the thread has before it, where so much waits that a turn of the event loop would bring too little

log = logging.getLogger("tabserve.batcher")

DisconnectWaiter = Callable[[], Awaitable[None]]
"""Returns when the client has gone away."""


class BatchPlan(NamedTuple):
    """How a model is run, found by measuring it."""

    inline_rows: int  # up to this many rows are predicted at once on the event loop; 0: none
    chunk_rows: int  # how much of one request goes into a batch at most
    merge: bool  # whether requests share a call


@dataclass(eq=False)
class QueuedRequest:
    """A request that waits for its answers. Predicted in parts, in order."""

    frame: Frame
    rows: int
    deadline: float
    request_id: str
    arrived: float
    future: "asyncio.Future[Outputs]"
    taken: int = 0

    def __post_init__(self) -> None:
        self.parts: list[Outputs] = []


class EngineResult(NamedTuple):
    outputs: Outputs | None
    error: Exception | None


class Batcher:
    """cost: of the engine, which also has been warmed up by measuring it."""

    def __init__(
        self,
        model: TabularModel,
        tally: ModelCounters,
        queue_rows: int,
        cost: EngineCost,
        batching: Switch = "auto",
    ) -> None:
        self.model = model
        self.tally = tally
        self.queue_rows = queue_rows
        self._batching = batching
        self.adopt(cost)
        self._jobs: deque[QueuedRequest] = deque()
        self._calls = 0
        self._rows_per_second = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"predict-{model.name}")

    def adopt(self, cost: EngineCost) -> None:
        """Run the engine from now on as one that costs so much."""
        self.cost = cost
        self.plan = plan_for(cost, self._batching)

    async def predict(
        self, frame: Frame, deadline: float, request_id: str, gone: DisconnectWaiter | None = None
    ) -> Outputs:
        """Checked rows -> their answers. deadline: on the clock of `time.monotonic`.

        Raises QueueFull, DeadlinePassed, ClientDisconnected or EngineFailed.
        """
        now, rows = time.monotonic(), len(frame.numbers)
        if now >= deadline:
            self.tally.reject("deadline", rows)
            raise DeadlinePassed
        if rows > self.plan.inline_rows:
            return await self._wait(frame, now, deadline, request_id, gone)
        outputs, error = attempt(self.model, frame)
        self._count(rows, time.monotonic() - now)
        if outputs is None:
            raise self._failed(error, request_id)
        return outputs

    def predict_now(self, frame: Frame) -> Outputs | None:
        """The outputs of a few rows, without waiting; None if the engine fails, which `predict` reports."""
        started = time.monotonic()
        outputs, _ = attempt(self.model, frame)
        if outputs is not None:
            self._count(len(outputs), time.monotonic() - started)
        return outputs

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    # The queue

    async def _wait(
        self, frame: Frame, now: float, deadline: float, request_id: str, gone: DisconnectWaiter | None
    ) -> Outputs:
        rows, waiting = len(frame.numbers), self.tally.queue_rows
        if waiting and waiting + rows > self.queue_rows:
            self.tally.reject("queue_full", rows)
            after = waiting / self._rows_per_second if self._rows_per_second else 1.0
            raise QueueFull(f"the queue of model {self.model.name!r} is full: {waiting} rows are waiting", after)
        loop = asyncio.get_running_loop()
        job = QueuedRequest(frame, rows, deadline, request_id, now, loop.create_future())
        self._jobs.append(job)
        self.tally.queue_rows += rows
        self._next()
        timer = loop.call_later(deadline - now, self._abandon, job, DeadlinePassed(), "deadline")
        watch = asyncio.ensure_future(gone()) if gone else None
        if watch:
            watch.add_done_callback(
                lambda task: None if task.cancelled() else self._abandon(job, ClientDisconnected(), "client_gone")
            )
        try:
            return await job.future
        except asyncio.CancelledError:
            self._abandon(job, ClientDisconnected(), "client_gone")
            raise
        finally:
            timer.cancel()
            if watch:
                watch.cancel()

    def _abandon(self, job: QueuedRequest, reason: RequestError, label: str) -> None:
        """What was not begun of it will not be predicted."""
        left = job.rows - job.taken
        job.taken = job.rows
        self.tally.queue_rows -= left
        if left:
            self.tally.reject(label, left)
        if not job.future.done():
            job.future.set_exception(reason)

    def _take(self) -> list[tuple[QueuedRequest, Frame]]:
        """The next batch: a part of each job in turn, so that a large one holds nobody up for longer than its part."""
        batch: list[tuple[QueuedRequest, Frame]] = []
        room = MAX_BATCH
        now = time.monotonic()
        for _ in range(len(self._jobs)):
            job = self._jobs.popleft()
            if job.future.done() or job.taken == job.rows:
                continue
            if now >= job.deadline:
                self._abandon(job, DeadlinePassed(), "deadline")
                continue
            stop = min(job.rows, job.taken + min(self.plan.chunk_rows, room))
            if not job.taken:
                self.tally.queue_seconds.observe(now - job.arrived)
            whole = job.taken == 0 and stop == job.rows
            batch.append((job, job.frame if whole else job.frame.take(slice(job.taken, stop))))
            room -= stop - job.taken
            self.tally.queue_rows -= stop - job.taken
            job.taken = stop
            if job.taken < job.rows:
                self._jobs.append(job)
            if room <= 0 or not self.plan.merge:
                break
        return batch

    def _next(self) -> None:
        """Give the thread what it lacks: a call, and more at once only where they are full."""
        while not self._calls or (self._calls < MAX_CALLS and self.tally.queue_rows >= MAX_BATCH):
            batch = self._take()
            if not batch:
                return
            self._calls += 1
            self._call(batch)

    def _call(self, batch: list[tuple[QueuedRequest, Frame]]) -> None:
        frames = [frame for _, frame in batch]
        call = asyncio.get_running_loop().run_in_executor(self._thread, predict_together, self.model, frames)
        call.add_done_callback(lambda done: self._done([job for job, _ in batch], done))

    def _done(self, jobs: list[QueuedRequest], call: "asyncio.Future[tuple[list[EngineResult], float]]") -> None:
        self._calls -= 1
        if call.cancelled():  # the server stops
            return
        outcomes, seconds = call.result()
        rows = sum(len(outcome.outputs) for outcome in outcomes if outcome.outputs is not None)
        self._count(rows, seconds)
        rate = rows / max(seconds, 1e-6)
        self._rows_per_second = 0.8 * self._rows_per_second + 0.2 * rate if self._rows_per_second else rate
        try:
            for job, outcome in zip(jobs, outcomes, strict=True):
                if job.future.done():
                    continue
                if outcome.outputs is None:
                    self._abandon(job, self._failed(outcome.error, job.request_id), "engine_failed")
                    continue
                job.parts.append(outcome.outputs)
                if sum(map(len, job.parts)) == job.rows:
                    whole = job.parts[0] if len(job.parts) == 1 else Outputs.concatenate(job.parts)
                    job.future.set_result(whole)
        finally:  # whatever happens, waiting jobs must not wait for ever
            self._next()

    def _count(self, rows: int, seconds: float) -> None:
        self.tally.batch_rows.observe(rows)
        self.tally.engine_seconds.observe(seconds)

    def _failed(self, error: Exception | None, request_id: str) -> EngineFailed:
        log.error(
            "prediction failed", exc_info=error, extra={"model": self.model.tag, "request_id": request_id or None}
        )
        return EngineFailed()


def attempt(model: TabularModel, *frames: Frame) -> EngineResult:
    """The edge to the engine: every exception, and every output that is not finite, is a failure of the engine.

    Several frames are predicted as one.
    """
    try:
        outputs = model.predict(
            frames[0] if len(frames) == 1 else Frame(*map(np.concatenate, zip(*frames, strict=True)))
        )
        if not outputs.all_finite():
            raise ArithmeticError("the engine's answer is not finite")
    except Exception as error:
        return EngineResult(None, error)
    return EngineResult(outputs, None)


def predict_together(model: TabularModel, frames: Sequence[Frame]) -> tuple[list[EngineResult], float]:
    """The outcome for each frame, predicted as one; if that fails, each alone, so that no other one fails."""
    started = time.monotonic()
    if len(frames) == 1:
        outcomes = [attempt(model, frames[0])]
    else:
        whole = attempt(model, *frames)
        if whole.outputs is None:
            outcomes = [attempt(model, frame) for frame in frames]
        else:
            sizes = [len(frame.numbers) for frame in frames]
            outcomes = [EngineResult(part, None) for part in whole.outputs.split(sizes)]
    return outcomes, time.monotonic() - started


def plan_for(cost: EngineCost, batching: Switch = "auto") -> BatchPlan:
    """How to run an engine that costs so much."""
    inline = clamp((INLINE_S - cost.one_s) / cost.row_s, 0, MAX_BATCH) if cost.one_s < FIXED_S else 0
    chunk = clamp(CHUNK_S / cost.row_s, 32, MAX_CHUNK)
    return BatchPlan(0 if batching == "on" else inline, chunk, merge=batching != "off")


def is_doubtful(cost: EngineCost) -> bool:
    """Whether another measurement may well change the plan: the rounds differ, or the cost is just above FIXED_S."""
    return not cost.steady or FIXED_S <= cost.one_s < DOUBTFUL_FACTOR * FIXED_S


def clamp(value: float, low: int, high: int) -> int:
    return int(min(max(value, low), high))
