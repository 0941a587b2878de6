"""A new version is promoted if it is not worse than the served version on the same rows."""

import numpy as np
import pytest

from training.comparison import compare_classifications, compare_regressions, mean_interval

RNG = np.random.default_rng(0)
TARGET = RNG.normal(size=4000)
NOISE = RNG.normal(size=(3, 4000))


def test_interval_of_a_mean_equals_a_hand_calculation() -> None:
    low, high = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    assert (low, high) == pytest.approx((2.5 - 1.26517, 2.5 + 1.26517), abs=1e-4)


@pytest.mark.parametrize(("factor", "expected"), [(0.8, True), (1.0, True), (1.02, False), (1.3, False)])
def test_regression_is_compared_by_its_squared_errors(factor: float, expected: bool) -> None:
    comparison = compare_regressions(TARGET, TARGET + NOISE[0] * factor, TARGET + NOISE[0])
    assert comparison.is_not_worse is expected
    assert comparison.low <= comparison.new - comparison.current <= comparison.high
    assert comparison.new == pytest.approx(float(np.sqrt(np.mean((NOISE[0] * factor) ** 2))))


def test_insignificant_difference_does_not_promote() -> None:
    """Both models have independent errors of equal size, so 200 rows are too few to decide."""
    rows = slice(200)
    comparison = compare_regressions(TARGET[rows], (TARGET + NOISE[1])[rows], (TARGET + NOISE[2])[rows])
    assert not comparison.is_not_worse
    assert "not shown to be as good on 200 rows" in str(comparison)


def test_large_values_do_not_overflow() -> None:
    comparison = compare_regressions(TARGET * 1e200, (TARGET + NOISE[0]) * 1e200, (TARGET + 2 * NOISE[0]) * 1e200)
    assert comparison.is_not_worse
    assert np.isfinite([comparison.low, comparison.high, comparison.new]).all()


def test_perfect_models_are_equal() -> None:
    assert compare_regressions(TARGET, TARGET, TARGET).is_not_worse


def test_classes_are_compared_by_the_log_loss() -> None:
    true = RNG.integers(0, 3, 2000)
    good, bad = np.full((2000, 3), 0.2), np.full((2000, 3), 0.25)
    good[np.arange(2000), true] = 0.6
    bad[np.arange(2000), true] = 0.5
    assert compare_classifications(true, good, bad).is_not_worse
    assert not compare_classifications(true, bad, good).is_not_worse
    assert compare_classifications(true, good, bad).new == pytest.approx(-np.log(0.6))


def test_class_that_a_model_does_not_know_has_a_finite_loss() -> None:
    true, p = np.zeros(300, np.int64), np.tile([0.0, 1.0], (300, 1))
    assert np.isfinite(compare_classifications(true, p, p).new)
