"""Statistics of drift: the population stability index, and the probability that a difference is due to chance.

Both compare the counts of the same cells in the reference and in the current window.
"""

import math

import numpy as np

from models.drift.reference import Counts

MIN_EXPECTED = 5.0  # minimum rows in a cell for the χ² test; smaller cells are tested individually
EMPTY = 0.5  # an empty cell counts as this many rows
SETTLED = 1e-12  # a sum ends at a term that is smaller than this fraction of the sum


def psi(reference: Counts, current: Counts) -> float:
    """The population stability index, Σ (q - p) · ln(q / p) over the fractions p and q of each cell; 0 without rows."""
    used = (reference > 0) | (current > 0)
    if not reference.sum() or not current.sum():
        return 0.0
    p, q = (np.maximum(counts[used], EMPTY) / counts.sum() for counts in (reference, current))
    return float(((q - p) * np.log(q / p)).sum())


def p_value(reference: Counts, current: Counts) -> float:
    """The probability of a difference this large if both are samples of one distribution; 1 without rows.

    Cells with enough rows are compared by the χ² test of homogeneity, with the other cells pooled. Each other cell is
    compared by Fisher's exact test, which finds a new level, the first missing values or values beyond all bins, and
    raises no false alarm on few rows. The result is the smallest p times the number of tests.
    """
    m, n = int(reference.sum()), int(current.sum())
    if not m or not n:
        return 1.0
    totals = reference + current
    large = totals * (min(m, n) / (m + n)) >= MIN_EXPECTED
    found = [
        exact_p(int(x), int(total), n, m + n) for x, total in zip(current[~large], totals[~large], strict=True) if total
    ]
    pooled = [np.append(counts[large], counts[~large].sum()) for counts in (reference, current)]
    found.append(chi_square_p(*pooled))
    return min(1.0, min(found) * len(found))


def chi_square_p(reference: Counts, current: Counts) -> float:
    """Pearson's test of homogeneity, without cells whose expected count is small in either sample."""
    m, n = reference.sum(), current.sum()
    totals = reference + current
    kept = totals * (min(m, n) / (m + n)) >= MIN_EXPECTED
    if kept.sum() < 2:
        return 1.0
    expected = totals[kept] * (n / (m + n))
    # (x - E)² (1/E_current + 1/E_reference), as both samples have the same difference
    statistic = ((current[kept] - expected) ** 2 * (1 / expected + n / (m * expected))).sum()
    return chi_square_tail(float(statistic), int(kept.sum()) - 1)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """P(χ² ≥ statistic): the regularised incomplete gamma function Q(degrees / 2, statistic / 2) as a finite sum."""
    x = statistic / 2
    if x <= 0:
        return 1.0
    odd = degrees % 2
    exponents = [i + odd / 2 for i in range(degrees // 2)]
    terms = [math.exp(power * math.log(x) - x - math.lgamma(power + 1)) for power in exponents]
    return min(1.0, (math.erfc(math.sqrt(x)) if odd else 0.0) + math.fsum(terms))


def exact_p(x: int, total: int, draws: int, population: int) -> float:
    """The two-sided p-value of `x` marked rows among `draws` if `total` rows of the population are marked."""
    expected = total * draws / population
    if x > expected:
        return min(1.0, 2 * hypergeometric_tail(x, total, draws, population))
    # With at most x marked rows among the draws, there are at least total - x among the other rows.
    return min(1.0, 2 * hypergeometric_tail(total - x, total, population - draws, population))


def hypergeometric_tail(x: int, total: int, draws: int, population: int) -> float:
    """P(X ≥ x) for the number X of marked rows among `draws` without replacement; x is above the mean or near it."""
    if x <= max(0, draws + total - population):
        return 1.0
    if x > min(total, draws):
        return 0.0
    term = math.exp(
        log_binomial(total, x) + log_binomial(population - total, draws - x) - log_binomial(population, draws)
    )
    tail = term
    for i in range(x, min(total, draws)):
        term *= (total - i) * (draws - i) / ((i + 1) * (population - total - draws + i + 1))
        tail += term
        if term < tail * SETTLED:
            break
    return min(1.0, tail)


def log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
