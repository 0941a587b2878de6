"""The confidence sequence is valid at all times simultaneously, for any observations, and gets narrower."""

import numpy as np
import pytest

from service.confidence_sequence import ALPHA, Moments, interval, moments_of

TIMES = np.unique(np.geomspace(1, 3000, 60).astype(int))


def mean_always_in_interval(values: np.ndarray, means: np.ndarray) -> bool:
    moments = Moments()
    start = 0
    for stop in TIMES.tolist():
        added = moments_of(values[start:stop].tolist(), moments)
        moments = Moments(*(one + two for one, two in zip(moments, added, strict=True)))
        low, high = interval(moments)
        if not low <= means[:stop].mean() <= high:
            return False
        start = stop
    return True


@pytest.mark.parametrize("kind", ["rare", "even", "small errors", "worse half way"])
def test_at_most_five_percent_of_sequences_ever_leave_the_interval(kind: str) -> None:
    rng = np.random.default_rng(3)
    outside = 0
    for _ in range(200):
        if kind == "small errors":
            means = np.full(3000, 1 / 3 / 10)
            values = rng.beta(1, 2, 3000) / 10
        else:
            shares = {"rare": (0.01, 0.01), "even": (0.5, 0.5), "worse half way": (0.1, 0.4)}[kind]
            means = np.repeat(shares, 1500)
            values = (rng.random(3000) < means).astype(float)
        outside += not mean_always_in_interval(values, means)
    assert outside <= 200 * ALPHA


def test_an_interval_of_half_the_width_is_left_too_often() -> None:
    """The simulation detects intervals that are too narrow."""
    rng = np.random.default_rng(3)
    outside = 0
    for _ in range(100):
        values = (rng.random(3000) < 0.5).astype(float)
        moments = [Moments()]
        for start, stop in zip([0, *TIMES[:-1].tolist()], TIMES.tolist(), strict=True):
            added = moments_of(values[start:stop].tolist(), moments[-1])
            moments.append(Moments(*(one + two for one, two in zip(moments[-1], added, strict=True))))
        halves = [(one.mean, 0.45 * (interval(one).high - one.mean)) for one in moments[20:]]
        outside += any(abs(mean - 0.5) > half for mean, half in halves)
    assert outside > 100 * ALPHA


def test_the_interval_without_observations_is_from_0_to_1() -> None:
    assert interval(Moments()) == (0, 1)


def test_the_interval_of_many_observations_is_narrow() -> None:
    values = (np.random.default_rng(1).random(20_000) < 0.87).astype(float).tolist()
    low, high = interval(moments_of(values, Moments()))
    assert low < 0.87 < high
    assert high - low < 0.025


def test_sums_do_not_depend_on_the_grouping_of_observations() -> None:
    values = np.random.default_rng(2).random(100).tolist()
    first = moments_of(values[:30], Moments())
    second = moments_of(values[30:], first)
    assert np.allclose([*moments_of(values, Moments())], np.add([*first], [*second]))
