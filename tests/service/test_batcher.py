"""Waiting requests are predicted together; none is lost, mixed up or affected by another one."""

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


class Slowed:
    """The engine of another model, deliberately slow, which fails for rows with a certain `class`."""

    name = "numpy"
    reason = "slowed"

    def __init__(self, inner: Any, seconds: float) -> None:
        self.inner = inner
        self.seconds = seconds
        self.batches: list[int] = []
        self.together = threading.Lock()
        self.released = threading.Event()  # a call hangs until it is set
        self.released.set()

    def outputs(self, x: Any) -> Any:
        assert self.together.acquire(blocking=False), "two calls at once"
        try:
            time.sleep(self.seconds)
            assert self.released.wait(60)
            self.batches.append(len(x))
            return self.inner.outputs(x)
        finally:
            self.together.release()


class Poisoned:
    """An engine that raises an error or returns NaN for rows with values at the clipping limit."""

    name = "numpy"
    reason = "poisoned"

    def __init__(self, inner: Any, poison: Any, how: str) -> None:
        self.inner, self.poison, self.how = inner, poison, how

    def outputs(self, x: Any) -> Any:
        bad = np.all(np.isclose(x, self.poison), axis=1)
        if bad.any() and self.how == "raise":
            raise ValueError("secret of the engine")
        answers = self.inner.outputs(x).copy()
        answers[bad] = np.nan
        return answers


def frames(model: TabularModel, count: int, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    numbers = np.column_stack(
        [rng.uniform(0, 16, count), rng.uniform(-5, 5, count), np.ones(count), np.full(count, 1.2e9)]
    )
    return Frame(numbers, rng.integers(0, 3, (count, 2)))


def one(frame: Frame, row: int) -> Frame:
    return frame.take(slice(row, row + 1))


@pytest.fixture
def slow(tabular_model: TabularModel) -> TabularModel:
    return dataclasses.replace(tabular_model, engine=Slowed(tabular_model.engine, 0.01))


SLOW = EngineCost(one_s=0.01, many_s=0.02)
FAST = EngineCost(one_s=0.00003, many_s=0.001)


def soon() -> float:
    return time.monotonic() + 60


def test_waiting_requests_are_predicted_together_and_get_their_own_answers(
    slow: TabularModel, tabular_model: TabularModel
) -> None:
    tally = ModelCounters()
    waiting = Batcher(slow, tally, queue_rows=1000, cost=SLOW)
    slow.engine.batches.clear()  # type: ignore[attr-defined]
    frame = frames(slow, 64)

    async def story() -> list[Any]:
        return await asyncio.gather(*[waiting.predict(one(frame, row), soon(), str(row)) for row in range(64)])

    outputs = Outputs.concatenate(asyncio.run(story()))
    np.testing.assert_allclose(outputs.primary, tabular_model.predict(frame).primary, rtol=1e-5)
    assert slow.engine.batches == [1, 63]  # type: ignore[attr-defined]
    assert tally.queue_rows == 0


def test_no_call_gets_more_rows_than_an_engine_takes_at_once(slow: TabularModel) -> None:
    waiting = Batcher(slow, ModelCounters(), queue_rows=10_000, cost=SLOW)
    waiting.plan = batcher.BatchPlan(inline_rows=0, chunk_rows=2048, merge=True)
    slow.engine.batches.clear()  # type: ignore[attr-defined]
    frame = frames(slow, 1500)

    async def story() -> list[Any]:
        parts = [one(frame, 0), frame, frame, frame]
        return await asyncio.gather(*[waiting.predict(part, soon(), "") for part in parts])

    assert [len(answers) for answers in asyncio.run(story())] == [1, 1500, 1500, 1500]
    assert slow.engine.batches == [1, 4096, 404]  # type: ignore[attr-defined]


def test_a_fast_engine_answers_at_once_and_a_slow_one_in_its_thread() -> None:
    assert plan_for(FAST).inline_rows > 0
    assert plan_for(SLOW).inline_rows == 0
    assert plan_for(FAST, "on").inline_rows == 0
    assert not plan_for(SLOW, "off").merge


def test_inline_rows_are_limited_by_how_long_the_event_loop_may_wait() -> None:
    """Each further row takes 0.1 ms, so 19 rows and the fixed cost take the 2 ms for which other requests may wait."""
    assert plan_for(EngineCost(one_s=0.00009, many_s=0.00009 + 255 * 0.0001)).inline_rows == 19


def test_calls_of_tensorflow_are_shared_however_quiet_the_machine_is_at_the_start() -> None:
    """One row takes 160 to 210 µs. Predicted on the event loop, 32 clients would get a quarter of the answers."""
    assert plan_for(EngineCost(one_s=0.00016, many_s=0.00018)).inline_rows == 0


@pytest.mark.parametrize(
    ("cost", "doubtful"),
    [
        (FAST, False),
        (SLOW, False),
        (FAST._replace(steady=False), True),  # the rounds differed
        (EngineCost(one_s=0.00015, many_s=0.001), True),  # on a quiet machine it may take less than 0.1 ms
    ],
)
def test_a_cost_is_doubtful_if_a_quiet_machine_may_lead_to_another_plan(cost: EngineCost, doubtful: bool) -> None:
    assert batcher.is_doubtful(cost) is doubtful


def test_a_batcher_follows_a_new_cost(slow: TabularModel) -> None:
    changing = Batcher(slow, ModelCounters(), 1000, SLOW)
    changing.adopt(FAST)
    assert changing.plan == plan_for(FAST)


def test_with_batching_off_every_request_is_predicted_apart(slow: TabularModel) -> None:
    apart = Batcher(slow, ModelCounters(), 1000, SLOW, "off")
    slow.engine.batches.clear()  # type: ignore[attr-defined]
    frame = frames(slow, 5)

    async def story() -> None:
        await asyncio.gather(*[apart.predict(one(frame, row), soon(), "") for row in range(5)])

    asyncio.run(story())
    assert slow.engine.batches == [1] * 5  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["raise", "nan"])
def test_a_row_at_which_the_engine_fails_fails_only_its_own_request(
    tabular_model: TabularModel, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    frame = frames(tabular_model, 64)
    poison = tabular_model.encoder.encode(one(frame, 17))
    model = dataclasses.replace(tabular_model, engine=Poisoned(tabular_model.engine, poison, how))
    together = Batcher(model, ModelCounters(), 1000, FAST, "on")

    async def story() -> list[Any]:
        questions = [together.predict(one(frame, row), soon(), f"id-{row}") for row in range(64)]
        return await asyncio.gather(*questions, return_exceptions=True)

    logger = batcher.log
    logger.addHandler(caplog.handler)
    answers = asyncio.run(story())
    logger.removeHandler(caplog.handler)
    failed = [row for row, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == [17]
    assert isinstance(answers[17], EngineFailed)
    assert "secret" not in str(answers[17])
    assert {getattr(record, "request_id", None) for record in caplog.records} == {"id-17"}
    expected = tabular_model.predict(frame).primary
    for row in range(64):
        if row != 17:
            np.testing.assert_allclose(answers[row].primary[0], expected[row], rtol=1e-5)


def test_a_large_request_is_split_so_that_a_small_one_need_not_wait(
    slow: TabularModel, tabular_model: TabularModel
) -> None:
    shared = Batcher(slow, ModelCounters(), 100_000, SLOW)
    shared.plan = batcher.BatchPlan(inline_rows=0, chunk_rows=32, merge=True)
    slow.engine.batches.clear()  # type: ignore[attr-defined]
    large, small = frames(slow, 960), frames(slow, 1, seed=5)
    order: list[str] = []

    async def ask(name: str, frame: Frame) -> Any:
        answer = await shared.predict(frame, soon(), name)
        order.append(name)
        return answer

    async def story() -> Any:
        first = asyncio.create_task(ask("large", large))
        while not slow.engine.batches:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
        await ask("small", small)
        return await first

    answers = asyncio.run(story())
    assert order == ["small", "large"]
    np.testing.assert_allclose(answers.primary, tabular_model.predict(large).primary, rtol=1e-5)


def test_a_full_queue_returns_when_to_retry(slow: TabularModel) -> None:
    tally = ModelCounters()
    bounded = Batcher(slow, tally, queue_rows=4, cost=SLOW)
    frame = frames(slow, 8)

    async def story() -> list[Any]:
        questions = [bounded.predict(one(frame, row), soon(), "") for row in range(8)]
        return await asyncio.gather(*questions, return_exceptions=True)

    answers = asyncio.run(story())
    refused = [answer for answer in answers if isinstance(answer, QueueFull)]
    assert len(refused) == 3  # one runs, four wait
    assert dict(refused[0].headers)[b"retry-after"] == b"1"
    assert tally.rejected == {"queue_full": 3}


def test_a_full_queue_reports_how_long_it_takes_to_drain(slow: TabularModel) -> None:
    """20 rows wait, and at most 10 rows per second have been predicted."""
    bounded = Batcher(slow, ModelCounters(), queue_rows=20, cost=SLOW)
    slow.engine.seconds = 0.1  # type: ignore[attr-defined]
    frame = frames(slow, 1)

    async def story() -> list[Any]:
        await bounded.predict(frame, soon(), "")
        return await asyncio.gather(*[bounded.predict(frame, soon(), "") for _ in range(22)], return_exceptions=True)

    *_, refused = asyncio.run(story())
    assert isinstance(refused, QueueFull)
    assert int(dict(refused.headers)[b"retry-after"]) >= 2


def test_a_request_larger_than_the_queue_is_answered_when_nothing_waits(slow: TabularModel) -> None:
    bounded = Batcher(slow, ModelCounters(), queue_rows=4, cost=SLOW)
    assert len(asyncio.run(bounded.predict(frames(slow, 9), soon(), ""))) == 9


def test_a_cancelled_request_is_not_predicted(slow: TabularModel) -> None:
    tally = ModelCounters()
    patient = Batcher(slow, tally, 1000, SLOW)
    engine: Any = slow.engine
    engine.released.clear()
    engine.batches.clear()
    frame = frames(slow, 4)

    async def leave() -> None:
        await asyncio.sleep(0.01)

    async def story() -> None:
        first, late, gone, last = (
            asyncio.create_task(patient.predict(one(frame, row), deadline, "", watch))
            for row, deadline, watch in (
                (0, soon(), None),
                (1, time.monotonic() + 0.02, None),
                (2, soon(), leave),
                (3, soon(), None),
            )
        )
        with pytest.raises(DeadlinePassed):
            await late
        with pytest.raises(ClientDisconnected):
            await gone
        engine.released.set()
        assert len(await first) == len(await last) == 1

    asyncio.run(story())
    assert engine.batches == [1, 1]
    assert tally.rejected == {"deadline": 1, "client_gone": 1}
    assert tally.queue_rows == 0


def test_a_deadline_is_kept_while_the_engine_hangs(slow: TabularModel) -> None:
    hanging = Batcher(slow, ModelCounters(), 1000, SLOW)
    slow.engine.released.clear()  # type: ignore[attr-defined]

    async def story() -> None:
        with pytest.raises(DeadlinePassed):
            await hanging.predict(frames(slow, 1), time.monotonic() + 0.05, "")
        slow.engine.released.set()  # type: ignore[attr-defined]

    asyncio.run(story())


def test_frames_that_cannot_be_put_together_are_predicted_apart(slow: TabularModel) -> None:
    """The reason may be that there is no memory for both. Here one has an additional column, which the encoder
    ignores."""
    good = frames(slow, 1)
    odd = Frame(np.append(good.numbers, [[0.0]], axis=1), good.codes)
    assert batcher.run_engine(slow, good, odd).error is not None
    outcomes, _ = batcher.predict_together(slow, [good, odd])
    assert [outcome.outputs is not None for outcome in outcomes] == [True, True]
