"""Waiting requests are predicted together, and each request gets its own result."""

import asyncio
import dataclasses
import threading
import time
from typing import Any

import numpy as np
import pytest

from models.frame import Frame
from models.outputs import Outputs
from models.tabular_model import TabularModel
from service import batcher
from service.batcher import Batcher, plan_for
from service.engine_cost import EngineCost
from service.errors import ClientDisconnected, DeadlinePassed, EngineFailed, QueueFull
from service.metrics import ModelCounters


class SlowEngine:
    """A slow wrapper around an engine. Calls wait until `released` is set."""

    name = "numpy"
    reason = "slowed"

    def __init__(self, inner: Any, seconds: float) -> None:
        self.inner = inner
        self.seconds = seconds
        self.batches: list[int] = []
        self.together = threading.Lock()
        self.released = threading.Event()  # calls wait until this event is set
        self.released.set()

    def outputs(self, x: Any) -> Any:
        assert self.together.acquire(blocking=False), "two concurrent calls"
        try:
            time.sleep(self.seconds)
            assert self.released.wait(60)
            self.batches.append(len(x))
            return self.inner.outputs(x)
        finally:
            self.together.release()


class FailingEngine:
    """An engine that raises an error or returns NaN for rows that equal a certain row."""

    name = "numpy"
    reason = "poisoned"

    def __init__(self, inner: Any, failing_row: Any, failure: str) -> None:
        self.inner, self.failing_row, self.failure = inner, failing_row, failure

    def outputs(self, x: Any) -> Any:
        bad = np.all(np.isclose(x, self.failing_row), axis=1)
        if bad.any() and self.failure == "raise":
            raise ValueError("secret of the engine")
        outputs = self.inner.outputs(x).copy()
        outputs[bad] = np.nan
        return outputs


def random_frame(model: TabularModel, count: int, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    numbers = np.column_stack(
        [rng.uniform(0, 16, count), rng.uniform(-5, 5, count), np.ones(count), np.full(count, 1.2e9)]
    )
    return Frame(numbers, rng.integers(0, 3, (count, 2)))


def single_row(frame: Frame, row: int) -> Frame:
    return frame.take(slice(row, row + 1))


@pytest.fixture
def slow_model(tabular_model: TabularModel) -> TabularModel:
    return dataclasses.replace(tabular_model, engine=SlowEngine(tabular_model.engine, 0.01))


SLOW = EngineCost(one_s=0.01, many_s=0.02)
FAST = EngineCost(one_s=0.00003, many_s=0.001)


def deadline_in_a_minute() -> float:
    return time.monotonic() + 60


def test_waiting_requests_are_predicted_in_one_batch_with_correct_results(
    slow_model: TabularModel, tabular_model: TabularModel
) -> None:
    tally = ModelCounters()
    waiting = Batcher(slow_model, tally, queue_rows=1000, cost=SLOW)
    slow_model.engine.batches.clear()  # type: ignore[attr-defined]
    frame = random_frame(slow_model, 64)

    async def scenario() -> list[Any]:
        return await asyncio.gather(
            *[waiting.predict(single_row(frame, row), deadline_in_a_minute(), str(row)) for row in range(64)]
        )

    outputs = Outputs.concatenate(asyncio.run(scenario()))
    np.testing.assert_allclose(outputs.primary, tabular_model.predict(frame).primary, rtol=1e-5)
    assert slow_model.engine.batches == [1, 63]  # type: ignore[attr-defined]
    assert tally.queue_rows == 0


def test_no_engine_call_gets_more_rows_than_the_chunk_size(slow_model: TabularModel) -> None:
    waiting = Batcher(slow_model, ModelCounters(), queue_rows=10_000, cost=SLOW)
    waiting.plan = batcher.BatchPlan(inline_rows=0, chunk_rows=2048, merge=True)
    slow_model.engine.batches.clear()  # type: ignore[attr-defined]
    frame = random_frame(slow_model, 1500)

    async def scenario() -> list[Any]:
        parts = [single_row(frame, 0), frame, frame, frame]
        return await asyncio.gather(*[waiting.predict(part, deadline_in_a_minute(), "") for part in parts])

    assert [len(outputs) for outputs in asyncio.run(scenario())] == [1, 1500, 1500, 1500]
    assert slow_model.engine.batches == [1, 4096, 404]  # type: ignore[attr-defined]


def test_fast_engines_predict_inline_and_slow_engines_in_a_thread() -> None:
    assert plan_for(FAST).inline_rows > 0
    assert plan_for(SLOW).inline_rows == 0
    assert plan_for(FAST, "on").inline_rows == 0
    assert not plan_for(SLOW, "off").merge


def test_the_number_of_inline_rows_is_limited_by_the_time_on_the_event_loop() -> None:
    """Other requests may wait for 2 ms; each further row takes 0.1 ms, so that 19 rows fit."""
    assert plan_for(EngineCost(one_s=0.00009, many_s=0.00009 + 255 * 0.0001)).inline_rows == 19


def test_tensorflow_predicts_in_batches_even_if_measured_on_a_quiet_machine() -> None:
    """TensorFlow takes 160 to 210 µs for one row. If it predicted on the event loop, 32 clients would get a quarter
    of the responses.
    """
    assert plan_for(EngineCost(one_s=0.00016, many_s=0.00018)).inline_rows == 0


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (FAST, False),
        (SLOW, False),
        (FAST._replace(steady=False), True),  # the measured rounds differed
        (EngineCost(one_s=0.00015, many_s=0.001), True),  # on a quiet machine one row may take less than 0.1 ms
    ],
)
def test_a_cost_is_uncertain_if_another_measurement_may_change_the_plan(cost: EngineCost, expected: bool) -> None:
    assert batcher.is_doubtful(cost) is expected


def test_a_batcher_adopts_the_plan_of_a_new_cost(slow_model: TabularModel) -> None:
    changing = Batcher(slow_model, ModelCounters(), 1000, SLOW)
    changing.adopt(FAST)
    assert changing.plan == plan_for(FAST)


def test_with_batching_off_every_request_is_predicted_separately(slow_model: TabularModel) -> None:
    apart = Batcher(slow_model, ModelCounters(), 1000, SLOW, "off")
    slow_model.engine.batches.clear()  # type: ignore[attr-defined]
    frame = random_frame(slow_model, 5)

    async def scenario() -> None:
        await asyncio.gather(*[apart.predict(single_row(frame, row), deadline_in_a_minute(), "") for row in range(5)])

    asyncio.run(scenario())
    assert slow_model.engine.batches == [1] * 5  # type: ignore[attr-defined]


@pytest.mark.parametrize("failure", ["raise", "nan"])
def test_an_engine_error_fails_only_the_request_with_the_failing_row(
    tabular_model: TabularModel, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    frame = random_frame(tabular_model, 64)
    failing_row = tabular_model.encoder.encode(single_row(frame, 17))
    model = dataclasses.replace(tabular_model, engine=FailingEngine(tabular_model.engine, failing_row, failure))
    together = Batcher(model, ModelCounters(), 1000, FAST, "on")

    async def scenario() -> list[Any]:
        predictions = [
            together.predict(single_row(frame, row), deadline_in_a_minute(), f"id-{row}") for row in range(64)
        ]
        return await asyncio.gather(*predictions, return_exceptions=True)

    logger = batcher.log
    logger.addHandler(caplog.handler)
    results = asyncio.run(scenario())
    logger.removeHandler(caplog.handler)
    failed = [row for row, result in enumerate(results) if isinstance(result, BaseException)]
    assert failed == [17]
    assert isinstance(results[17], EngineFailed)
    assert "secret" not in str(results[17])
    assert {getattr(record, "request_id", None) for record in caplog.records} == {"id-17"}
    expected = tabular_model.predict(frame).primary
    for row in range(64):
        if row != 17:
            np.testing.assert_allclose(results[row].primary[0], expected[row], rtol=1e-5)


def test_a_small_request_does_not_wait_for_all_parts_of_a_large_request(
    slow_model: TabularModel, tabular_model: TabularModel
) -> None:
    shared = Batcher(slow_model, ModelCounters(), 100_000, SLOW)
    shared.plan = batcher.BatchPlan(inline_rows=0, chunk_rows=32, merge=True)
    slow_model.engine.batches.clear()  # type: ignore[attr-defined]
    large, small = random_frame(slow_model, 960), random_frame(slow_model, 1, seed=5)
    order: list[str] = []

    async def send_request(name: str, frame: Frame) -> Any:
        outputs = await shared.predict(frame, deadline_in_a_minute(), name)
        order.append(name)
        return outputs

    async def scenario() -> Any:
        first = asyncio.create_task(send_request("large", large))
        while not slow_model.engine.batches:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
        await send_request("small", small)
        return await first

    outputs = asyncio.run(scenario())
    assert order == ["small", "large"]
    np.testing.assert_allclose(outputs.primary, tabular_model.predict(large).primary, rtol=1e-5)


def test_a_full_queue_refuses_requests_with_retry_after(slow_model: TabularModel) -> None:
    tally = ModelCounters()
    bounded = Batcher(slow_model, tally, queue_rows=4, cost=SLOW)
    frame = random_frame(slow_model, 8)

    async def scenario() -> list[Any]:
        predictions = [bounded.predict(single_row(frame, row), deadline_in_a_minute(), "") for row in range(8)]
        return await asyncio.gather(*predictions, return_exceptions=True)

    results = asyncio.run(scenario())
    refused = [result for result in results if isinstance(result, QueueFull)]
    assert len(refused) == 3  # one request is being predicted, and four are waiting
    assert dict(refused[0].headers)[b"retry-after"] == b"1"
    assert tally.rejected == {"queue_full": 3}


def test_the_retry_after_of_a_full_queue_is_the_time_to_empty_it(slow_model: TabularModel) -> None:
    """The queue has 20 rows, and the engine predicts at most 10 rows per second."""
    bounded = Batcher(slow_model, ModelCounters(), queue_rows=20, cost=SLOW)
    slow_model.engine.seconds = 0.1  # type: ignore[attr-defined]
    frame = random_frame(slow_model, 1)

    async def scenario() -> list[Any]:
        await bounded.predict(frame, deadline_in_a_minute(), "")
        return await asyncio.gather(
            *[bounded.predict(frame, deadline_in_a_minute(), "") for _ in range(22)], return_exceptions=True
        )

    *_, refused = asyncio.run(scenario())
    assert isinstance(refused, QueueFull)
    assert int(dict(refused.headers)[b"retry-after"]) >= 2


def test_a_request_larger_than_the_queue_is_accepted_if_the_queue_is_empty(slow_model: TabularModel) -> None:
    bounded = Batcher(slow_model, ModelCounters(), queue_rows=4, cost=SLOW)
    assert len(asyncio.run(bounded.predict(random_frame(slow_model, 9), deadline_in_a_minute(), ""))) == 9


def test_expired_and_abandoned_requests_are_not_predicted(slow_model: TabularModel) -> None:
    tally = ModelCounters()
    patient = Batcher(slow_model, tally, 1000, SLOW)
    engine: Any = slow_model.engine
    engine.released.clear()
    engine.batches.clear()
    frame = random_frame(slow_model, 4)

    async def disconnect() -> None:
        await asyncio.sleep(0.01)

    async def scenario() -> None:
        first, late, gone, last = (
            asyncio.create_task(patient.predict(single_row(frame, row), deadline, "", watch))
            for row, deadline, watch in (
                (0, deadline_in_a_minute(), None),
                (1, time.monotonic() + 0.02, None),
                (2, deadline_in_a_minute(), disconnect),
                (3, deadline_in_a_minute(), None),
            )
        )
        with pytest.raises(DeadlinePassed):
            await late
        with pytest.raises(ClientDisconnected):
            await gone
        engine.released.set()
        assert len(await first) == len(await last) == 1

    asyncio.run(scenario())
    assert engine.batches == [1, 1]
    assert tally.rejected == {"deadline": 1, "client_gone": 1}
    assert tally.queue_rows == 0


def test_a_request_expires_at_its_deadline_while_the_engine_hangs(slow_model: TabularModel) -> None:
    hanging = Batcher(slow_model, ModelCounters(), 1000, SLOW)
    slow_model.engine.released.clear()  # type: ignore[attr-defined]

    async def scenario() -> None:
        with pytest.raises(DeadlinePassed):
            await hanging.predict(random_frame(slow_model, 1), time.monotonic() + 0.05, "")
        slow_model.engine.released.set()  # type: ignore[attr-defined]

    asyncio.run(scenario())


def test_frames_that_cannot_be_concatenated_are_predicted_separately(slow_model: TabularModel) -> None:
    """Concatenation may fail for lack of memory. In this test it fails because a frame has an additional column."""
    good = random_frame(slow_model, 1)
    wider = Frame(np.append(good.numbers, [[0.0]], axis=1), good.codes)
    assert batcher.run_engine(slow_model, good, wider).error is not None
    outcomes, _ = batcher.predict_together(slow_model, [good, wider])
    assert [outcome.outputs is not None for outcome in outcomes] == [True, True]
