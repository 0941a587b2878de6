"""The median of paired ratios with a distribution-free confidence interval."""

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

LEVEL = 0.95


class Ratio(NamedTuple):
    """The median of the ratios new ÷ old of all rounds, with an interval between two order statistics."""

    median: float
    low: float
    high: float
    rank: int  # rank of `low` from below and of `high` from above, counted from 1
    coverage: float  # the probability that the interval contains the true median


def ratio(old: Sequence[float], new: Sequence[float]) -> Ratio:
    """Compare two measurements round by round."""
    ratios = sorted(after / before for before, after in zip(old, new, strict=True))
    rank = rank_of(len(ratios))
    return Ratio(median(ratios), ratios[rank - 1], ratios[-rank], rank, coverage(len(ratios), rank))


def rank_of(count: int) -> int:
    """The largest rank whose interval has a coverage of LEVEL; 1 (the whole range) if there is no such rank, as with up
    to 5 rounds."""
    ranks = range(1, count // 2 + 1)
    return max((rank for rank in ranks if coverage(count, rank) >= LEVEL), default=1)


def coverage(count: int, rank: int) -> float:
    """The probability that the median lies between the values of this rank from below and from above.

    Each value is below the true median with probability 1/2, so the number of those below is binomial:
    P = 1 - 2 Σ_{i < rank} C(count, i) / 2^count.
    """
    outside: int = 2 * sum(math.comb(count, i) for i in range(rank))
    return 1 - outside / int(2**count)
