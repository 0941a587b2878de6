"""The statistics of drift agree with scipy's and with hand calculations."""

import math

import numpy as np
import pytest
from scipy import stats

from models.drift.significance import chi_square_p, chi_square_tail, exact_p, hypergeometric_tail, p_value, psi


def counts(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def test_population_stability_index_is_the_sum_over_the_cells() -> None:
    expected = 0.25 * math.log(0.75 / 0.5) + -0.25 * math.log(0.25 / 0.5)
    assert psi(counts(50, 50), counts(75, 25)) == pytest.approx(expected)
    assert psi(counts(50, 50), counts(500, 500)) == 0


def test_an_empty_cell_counts_as_half_a_row() -> None:
    p, q = (100 / 100, 0.5 / 100), (60 / 100, 40 / 100)
    assert psi(counts(100, 0), counts(60, 40)) == pytest.approx(
        sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    )
    assert psi(counts(100, 0), counts(30, 0)) == 0, "a cell that is empty in both samples is left out"


def test_empty_counts_indicate_no_drift() -> None:
    for pair in ((counts(0, 0), counts(5, 5)), (counts(5, 5), counts(0, 0))):
        assert psi(*pair) == 0
        assert p_value(*pair) == 1


@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 10, 52])
@pytest.mark.parametrize("statistic", [0.0, 0.3, 5.0, 42.0, 300.0])
def test_tail_of_chi_square_equals_that_of_scipy(statistic: float, degrees: int) -> None:
    assert chi_square_tail(statistic, degrees) == pytest.approx(stats.chi2.sf(statistic, degrees), rel=1e-9, abs=1e-300)


def test_huge_statistic_has_probability_zero() -> None:
    assert chi_square_tail(1e6, 9) == 0.0


def test_chi_square_p_equals_that_of_scipy() -> None:
    reference, current = counts(400, 300, 200, 100), counts(20, 40, 30, 10)
    expected = stats.chi2_contingency([reference, current], correction=False).pvalue
    assert chi_square_p(reference, current) == pytest.approx(expected)
    assert chi_square_p(counts(500, 1), counts(50, 0)) == 1.0, "one cell with enough rows cannot be tested"


@pytest.mark.parametrize(
    ("x", "total", "draws", "population"), [(3, 4, 100, 1000), (50, 50, 1000, 14_000), (1, 1, 5, 9)]
)
def test_hypergeometric_tail_equals_that_of_scipy(x: int, total: int, draws: int, population: int) -> None:
    expected = stats.hypergeom.sf(x - 1, population, total, draws)
    assert hypergeometric_tail(x, total, draws, population) == pytest.approx(expected, rel=1e-6)


def test_exact_test_is_two_sided() -> None:
    many, none = exact_p(10, 10, 100, 1000), exact_p(0, 40, 500, 1000)
    assert many == pytest.approx(2 * stats.hypergeom.sf(9, 1000, 10, 100), rel=1e-6)
    assert none == pytest.approx(2 * stats.hypergeom.cdf(0, 1000, 40, 500), rel=1e-6)


@pytest.mark.parametrize("shares", [[0.1] * 10, [0.9, 0.05, 0.02, *[0.001] * 30]])
def test_small_values_of_p_are_rare_without_drift(shares: list[float]) -> None:
    """Without drift, small values of p are about as rare as they should be, even for cells with few rows."""
    rng = np.random.default_rng(5)
    p = np.array(shares) / sum(shares)
    found = [p_value(rng.multinomial(5000, p), rng.multinomial(300, p)) for _ in range(2000)]
    for level in (0.05, 0.01):
        assert np.mean(np.array(found) < level) < level * 1.6


def test_p_is_small_for_cells_that_are_empty_in_the_reference() -> None:
    reference = counts(9000, 4000, 0, 0)
    assert p_value(reference, counts(680, 270, 50, 0)) < 1e-9
    assert p_value(reference, counts(0, 0, 1000, 0)) < 1e-9
    assert p_value(reference, counts(690, 309, 1, 0)) > 0.01, "one row is not significant"
