"""The batcher of a model: predicts together the requests that are waiting at the same time.

A small prediction of a fast engine runs immediately on the event loop. All other predictions run in one thread, one
call at a time; the next call predicts all requests that arrived meanwhile. There is no timer and no polling.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.frame import Frame
from models.outputs import Outputs
from models.tabular_model import TabularModel
from models.text import counted
from service.engine_cost import EngineCost
from service.errors import ClientDisconnected, DeadlinePassed, EngineFailed, QueueFull, RequestError
from service.fair_queue import FairQueue
from service.metrics import ModelCounters
from service.settings import Switch

INLINE_S = 0.002  # the longest prediction on the event loop
FIXED_S = 0.0001  # above this engine cost per row, requests share calls; sharing costs a request 40 to 130 µs
CHUNK_S = 0.01  # the longest time for which a part of a large request may delay a small request
DOUBTFUL_FACTOR = 3.0  # a busy machine raises the measured cost by less than this factor
MAX_CHUNK = 2048
MAX_BATCH = 4096
MAX_CALLS = 4  # calls queued for the thread if one event loop iteration would process too few of the waiting requests

log = logging.getLogger("tabserve.batcher")

DisconnectWaiter = Callable[[], Awaitable[None]]
"""Returns when the client has disconnected."""


class BatchPlan(NamedTuple):
    """How a model is run, derived from the measured cost of its engine."""

    inline_rows: int  # requests with at most this number of rows are predicted on the event loop; 0: no requests
    chunk_rows: int  # maximum number of rows of one request in a batch
    merge: bool  # whether requests share a call


@dataclass(eq=False)
class QueuedRequest:
    """A request in the queue. Its rows are predicted in order, in one part or several."""

    frame: Frame
    rows: int
    deadline: float
    request_id: str
    client: str
    droppable: bool
    arrived: float
    future: "asyncio.Future[Outputs]"
    taken: int = 0

    def __post_init__(self) -> None:
        self.parts: list[Outputs] = []


class EngineResult(NamedTuple):
    outputs: Outputs | None
    error: Exception | None


class Batcher:
    """The queue of a model and the calls of its engine.

    cost: the cost of the engine; its measurement has also warmed the engine up.
    """

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
        self._requests: FairQueue[QueuedRequest] = FairQueue()
        self._waiting_rows: dict[str, int] = {}  # by client
        self._calls = 0
        self._rows_per_second = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"predict-{model.name}")

    def adopt(self, cost: EngineCost) -> None:
        """Derive the plan again from a new cost of the engine."""
        self.cost = cost
        self.plan = plan_for(cost, self._batching)

    async def predict(
        self,
        frame: Frame,
        deadline: float,
        request_id: str,
        disconnected: DisconnectWaiter | None = None,
        client: str = "",
        *,
        droppable: bool = True,
    ) -> Outputs:
        """Predict validated rows. deadline: a time of `time.monotonic`. client: the sender, because clients share the
        queue equally.

        droppable: whether another client may take the place of this request in a full queue.

        Raises QueueFull, DeadlinePassed, ClientDisconnected or EngineFailed.
        """
        now, rows = time.monotonic(), len(frame.numbers)
        if now >= deadline:
            self.tally.reject("deadline", rows)
            raise DeadlinePassed
        if rows > self.plan.inline_rows:
            if not self._has_room(client, rows):
                self.tally.reject("queue_full", rows)
                raise self._queue_full()
            loop = asyncio.get_running_loop()
            request = QueuedRequest(frame, rows, deadline, request_id, client, droppable, now, loop.create_future())
            return await self._wait(request, disconnected)
        outputs, error = run_engine(self.model, frame)
        self._record_call(rows, time.monotonic() - now)
        if outputs is None:
            raise self._engine_failed(error, request_id)
        return outputs

    def predict_now(self, frame: Frame) -> Outputs | None:
        """Predict a few rows immediately. None if the engine fails, which `predict` then reports."""
        started = time.monotonic()
        outputs, _ = run_engine(self.model, frame)
        if outputs is not None:
            self._record_call(len(outputs), time.monotonic() - started)
        return outputs

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    # The queue

    async def _wait(self, request: QueuedRequest, disconnected: DisconnectWaiter | None) -> Outputs:
        loop = asyncio.get_running_loop()
        self._requests.push(request.client, request)
        self._count_waiting(request.client, request.rows)
        self._start_calls()
        timer = loop.call_later(
            request.deadline - request.arrived, self._abandon, request, DeadlinePassed(), "deadline"
        )
        disconnection = asyncio.ensure_future(disconnected()) if disconnected else None
        if disconnection:
            disconnection.add_done_callback(
                lambda task: None if task.cancelled() else self._abandon(request, ClientDisconnected(), "client_gone")
            )
        try:
            return await request.future
        except asyncio.CancelledError:
            self._abandon(request, ClientDisconnected(), "client_gone")
            raise
        finally:
            timer.cancel()
            if disconnection:
                disconnection.cancel()

    def _has_room(self, client: str, rows: int) -> bool:
        """Whether a request fits into the queue. If the queue is full, it drops requests of the client with the most
        rows in favour of a client below its share."""
        while (waiting := self.tally.queue_rows) and waiting + rows > self.queue_rows:
            share = self.queue_rows / len({*self._waiting_rows, client})
            if self._waiting_rows.get(client, 0) + rows > share:
                return False
            largest = max(self._waiting_rows, key=self._waiting_rows.__getitem__)
            if self._waiting_rows[largest] <= share:
                return False
            dropped = self._requests.remove_last(largest, is_droppable)
            if dropped is None:
                return False
            self._abandon(dropped, self._queue_full(), "queue_full")
        return True

    def _queue_full(self) -> QueueFull:
        waiting = self.tally.queue_rows
        after = waiting / self._rows_per_second if self._rows_per_second else 1.0
        rows = counted(waiting, "row is", "rows are")
        return QueueFull(f"the queue of model {self.model.name!r} is full: {rows} waiting", after)

    def _count_waiting(self, client: str, rows: int) -> None:
        """Add a number, which may be negative, to the number of waiting rows."""
        self.tally.queue_rows += rows
        waiting = self._waiting_rows.get(client, 0) + rows
        if waiting:
            self._waiting_rows[client] = waiting
        else:
            self._waiting_rows.pop(client, None)

    def _abandon(self, request: QueuedRequest, reason: RequestError, label: str) -> None:
        """Drop the rows of a request that are still in the queue, and fail the request."""
        left = request.rows - request.taken
        request.taken = request.rows
        if left:
            self._count_waiting(request.client, -left)
            self.tally.reject(label, left)
        if not request.future.done():
            request.future.set_exception(reason)

    def _next_batch(self) -> list[tuple[QueuedRequest, Frame]]:
        """The next batch: one part of each waiting request, so that a large request delays others by only one part."""
        batch: list[tuple[QueuedRequest, Frame]] = []
        room = MAX_BATCH
        now = time.monotonic()
        for _ in range(len(self._requests)):
            request = self._requests.pop()
            if request.future.done() or request.taken == request.rows:
                self._requests.charge(0.0)
                continue
            if now >= request.deadline:
                self._abandon(request, DeadlinePassed(), "deadline")
                self._requests.charge(0.0)
                continue
            stop = min(request.rows, request.taken + min(self.plan.chunk_rows, room))
            if not request.taken:
                self.tally.queue_seconds.observe(now - request.arrived)
            whole = request.taken == 0 and stop == request.rows
            batch.append((request, request.frame if whole else request.frame.take(slice(request.taken, stop))))
            room -= stop - request.taken
            taken = stop - request.taken
            self._count_waiting(request.client, -taken)
            request.taken = stop
            if request.taken < request.rows:
                self._requests.push(request.client, request)
            self._requests.charge(taken)
            if room <= 0 or not self.plan.merge:
                break
        return batch

    def _start_calls(self) -> None:
        """Start the next call of the thread, or several calls if their batches are full."""
        while not self._calls or (self._calls < MAX_CALLS and self.tally.queue_rows >= MAX_BATCH):
            batch = self._next_batch()
            if not batch:
                return
            self._calls += 1
            self._start_call(batch)

    def _start_call(self, batch: list[tuple[QueuedRequest, Frame]]) -> None:
        frames = [frame for _, frame in batch]
        call = asyncio.get_running_loop().run_in_executor(self._thread, predict_together, self.model, frames)
        call.add_done_callback(lambda done: self._finish_call([request for request, _ in batch], done))

    def _finish_call(
        self, requests: list[QueuedRequest], call: "asyncio.Future[tuple[list[EngineResult], float]]"
    ) -> None:
        self._calls -= 1
        if call.cancelled():  # the server is shutting down
            return
        outcomes, seconds = call.result()
        rows = sum(len(outcome.outputs) for outcome in outcomes if outcome.outputs is not None)
        self._record_call(rows, seconds)
        rate = rows / max(seconds, 1e-6)
        self._rows_per_second = 0.8 * self._rows_per_second + 0.2 * rate if self._rows_per_second else rate
        try:
            for request, outcome in zip(requests, outcomes, strict=True):
                if request.future.done():
                    continue
                if outcome.outputs is None:
                    self._abandon(request, self._engine_failed(outcome.error, request.request_id), "engine_failed")
                    continue
                request.parts.append(outcome.outputs)
                if sum(map(len, request.parts)) == request.rows:
                    whole = request.parts[0] if len(request.parts) == 1 else Outputs.concatenate(request.parts)
                    request.future.set_result(whole)
        finally:  # also after an error, so that queued requests do not wait forever
            self._start_calls()

    def _record_call(self, rows: int, seconds: float) -> None:
        self.tally.batch_rows.observe(rows)
        self.tally.engine_seconds.observe(seconds)

    def _engine_failed(self, error: Exception | None, request_id: str) -> EngineFailed:
        log.error(
            "prediction failed", exc_info=error, extra={"model": self.model.tag, "request_id": request_id or None}
        )
        return EngineFailed()


def is_droppable(request: QueuedRequest) -> bool:
    """Whether a request may be refused although it has entered the queue."""
    return request.droppable and not request.taken


def run_engine(model: TabularModel, *frames: Frame) -> EngineResult:
    """Run the engine. Any exception, and any output that is not finite, counts as a failure of the engine.

    Several frames are predicted as one.
    """
    try:
        outputs = model.predict(
            frames[0] if len(frames) == 1 else Frame(*map(np.concatenate, zip(*frames, strict=True)))
        )
        if not outputs.all_finite():
            raise ArithmeticError("the engine's output is not finite")
    except Exception as error:
        return EngineResult(None, error)
    return EngineResult(outputs, None)


def predict_together(model: TabularModel, frames: Sequence[Frame]) -> tuple[list[EngineResult], float]:
    """Predict frames together and return the result of each. If that fails, each frame is predicted alone."""
    started = time.monotonic()
    if len(frames) == 1:
        outcomes = [run_engine(model, frames[0])]
    else:
        whole = run_engine(model, *frames)
        if whole.outputs is None:
            outcomes = [run_engine(model, frame) for frame in frames]
        else:
            sizes = [len(frame.numbers) for frame in frames]
            outcomes = [EngineResult(part, None) for part in whole.outputs.split(sizes)]
    return outcomes, time.monotonic() - started


def plan_for(cost: EngineCost, batching: Switch = "auto") -> BatchPlan:
    """The plan for an engine with this cost."""
    inline = clamp((INLINE_S - cost.one_s) / cost.row_s, 0, MAX_BATCH) if cost.one_s < FIXED_S else 0
    chunk = clamp(CHUNK_S / cost.row_s, 32, MAX_CHUNK)
    return BatchPlan(0 if batching == "on" else inline, chunk, merge=batching != "off")


def is_doubtful(cost: EngineCost) -> bool:
    """Whether another measurement may change the plan: the rounds differ, or the cost is just above FIXED_S."""
    return not cost.steady or FIXED_S <= cost.one_s < DOUBTFUL_FACTOR * FIXED_S


def clamp(value: float, low: int, high: int) -> int:
    return int(min(max(value, low), high))
