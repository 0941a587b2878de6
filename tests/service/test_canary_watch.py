"""Statistical tests of canaries: a worse challenger is rolled back, an equal challenger almost never."""

import numpy as np
import pytest

from service.canary_watch import CanaryTest, ResponseCounts, percentile_bucket
from service.metrics import SECONDS
from service.sequential_test import SequentialTest

CANARIES, BLOCKS = 1000, 120


def simulation_rejects(
    rng: np.random.Generator, rates: tuple[float, float], share: float = 0.05, blocks: int = BLOCKS
) -> bool:
    """Whether a sequential test rejects the challenger of a simulated canary with these event rates."""
    test = SequentialTest(0.0005)
    for _ in range(blocks):
        second = int(rng.binomial(400, share))
        first = 400 - second
        test.add(first, int(rng.binomial(first, rates[0])), second, int(rng.binomial(second, rates[1])))
        if test.rejected:
            return True
    return False


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.01, 0.2])
def test_the_sequential_test_rejects_equal_versions_at_most_once_in_250_canaries(rate: float) -> None:
    rng = np.random.default_rng(7)
    assert sum(simulation_rejects(rng, (rate, rate)) for _ in range(CANARIES // 4)) <= 1


@pytest.mark.parametrize("rates", [(0.0, 0.02), (0.001, 0.05), (0.01, 0.1)])
def test_a_worse_challenger_is_rejected(rates: tuple[float, float]) -> None:
    rng = np.random.default_rng(7)
    assert all(simulation_rejects(rng, rates) for _ in range(20))


def test_a_better_challenger_is_not_rejected() -> None:
    rng = np.random.default_rng(7)
    assert not any(simulation_rejects(rng, (0.1, 0.01)) for _ in range(20))


def test_a_rate_that_changes_for_both_versions_is_not_rejected() -> None:
    rng = np.random.default_rng(7)
    test = SequentialTest(0.0005)
    for block in range(400):
        rate = 0.3 if block % 7 == 0 else 0.001
        test.add(380, int(rng.binomial(380, rate)), 20, int(rng.binomial(20, rate)))
        assert not test.rejected


def counts(responses: int, *, failed: int = 0, errors: int = 0, slow: int = 0) -> ResponseCounts:
    """Counts of responses with one row each. Slow responses take 0.1 s, other responses 1 ms."""
    seconds = [0] * (len(SECONDS) + 1)
    seconds[SECONDS.index(1e-3)], seconds[SECONDS.index(0.1)] = responses - slow, slow
    return ResponseCounts(responses, failed + errors, errors, responses, seconds)


def first_reason(test: CanaryTest, champion: ResponseCounts, challenger: ResponseCounts, times: int) -> str | None:
    """Returns the first reason for a rollback in a number of checks. The counts are added again before each check."""
    first, second = ResponseCounts(), ResponseCounts()
    for _ in range(times):
        first.add(champion)
        second.add(challenger)
        reason = test.check(copy_of(first), copy_of(second))
        if reason is not None:
            return reason
    return None


def copy_of(one: ResponseCounts) -> ResponseCounts:
    found = ResponseCounts()
    found.add(one)
    return found


def test_an_equal_challenger_is_not_rolled_back() -> None:
    assert first_reason(CanaryTest("x", 100), counts(400, failed=2, slow=4), counts(20, failed=0, slow=0), 50) is None


def test_a_challenger_that_fails_more_often_is_rolled_back_after_the_minimum_of_rows() -> None:
    reason = first_reason(CanaryTest("x", 200), counts(400), counts(20, failed=4), 60)
    assert reason is not None
    assert reason.startswith("more failed responses: ")
    assert first_reason(CanaryTest("x", 10_000), counts(400), counts(20, failed=4), 60) is None


def test_a_challenger_that_is_slower_is_rolled_back() -> None:
    reason = first_reason(CanaryTest("x", 200), counts(400, slow=2), counts(20, slow=10), 60)
    assert reason is not None
    assert reason.startswith("more slow responses: ")


def test_five_engine_errors_end_a_canary_immediately() -> None:
    assert CanaryTest("x", 10_000).check(counts(10), counts(10, errors=4)) is None
    assert CanaryTest("x", 10_000).check(counts(10), counts(10, errors=5)) == "5 engine errors"


def test_the_bucket_of_the_99th_percentile() -> None:
    seconds = counts(1000, slow=5).seconds
    assert SECONDS[percentile_bucket(seconds)] == 1e-3
    assert SECONDS[percentile_bucket(counts(1000, slow=50).seconds)] == 0.1


CHECKS, RESPONSES = 60, 400  # the checks of a simulated canary, and the responses before each check
LATENCIES = np.array([0.5, 0.3, 0.15, 0.03, 0.015, 0.004, 0.001])  # fraction of responses per bucket from 1 ms


def simulated_canary(rng: np.random.Generator) -> str | None:
    """Returns the reason for the rollback of a challenger that equals the champion, or None. Both versions fail at
    the same rate.
    """
    rate, share = rng.choice([0.0, 0.001, 0.02]), rng.choice([0.01, 0.05, 0.5])
    test, first = CanaryTest("x", 500), SECONDS.index(1e-3)
    responses = [round(RESPONSES * (1 - share)), round(RESPONSES * share)]
    failed = np.array([rng.binomial(count, rate, CHECKS) for count in responses]).cumsum(axis=1).tolist()
    seconds = np.zeros((2, CHECKS, len(SECONDS) + 1), dtype=int)
    for version, count in enumerate(responses):
        seconds[version, :, first : first + len(LATENCIES)] = rng.multinomial(count, LATENCIES, CHECKS).cumsum(axis=0)
    for check in range(CHECKS):
        champion, challenger = (
            ResponseCounts(
                total := (check + 1) * count, failed[version][check], 0, total, seconds[version, check].tolist()
            )
            for version, count in enumerate(responses)
        )
        if (reason := test.check(champion, challenger)) is not None:
            return reason
    return None


def test_at_most_five_of_a_thousand_canaries_with_equal_versions_are_rolled_back() -> None:
    rng = np.random.default_rng(11)
    reasons = [reason for _ in range(1000) if (reason := simulated_canary(rng)) is not None]
    assert len(reasons) <= 5, reasons
