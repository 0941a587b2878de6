"""A confidence sequence: an interval for a mean that is valid after every observation.

The observations are between 0 and 1. Their expectations may change; the interval is for the mean of the expectations.
It is the empirical-Bernstein bound of Howard, Ramdas, McAuliffe and Sekhon (Time-uniform, nonparametric, nonasymptotic
confidence sequences, Annals of Statistics 2021, theorem 4) with their stitched boundary for sub-gamma processes
(theorem 1, eta = 2, h(k) = zeta(s) (k + 1)^s).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

ALPHA = 0.05  # the probability that the mean is outside at any time
STITCH_POWER, ZETA = 1.4, 3.1055  # s and zeta(s)
FIRST_VARIANCE = 10.0  # constant boundary below; the interval is narrowest at about ten times this variance
K1 = (2**0.25 + 2**-0.25) / math.sqrt(2)
K2 = (math.sqrt(2) + 1) / 2


class Moments(NamedTuple):
    """Sums over observations. The sums of several sequences can be added.

    deviation: the sum of the squared differences from a mean that was known before each observation.
    """

    number: float = 0.0
    total: float = 0.0
    deviation: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.number if self.number else 0.5


class MeanInterval(NamedTuple):
    low: float
    high: float


def moments_of(values: Sequence[float], before: Moments) -> Moments:
    """The sums over new observations. before: the sums over all earlier observations."""
    count, total, deviation = before
    for value in values:
        deviation += (value - (total / count if count else 0.5)) ** 2
        count += 1
        total += value
    return Moments(count - before.number, total - before.total, deviation - before.deviation)


def interval(moments: Moments, alpha: float = ALPHA) -> MeanInterval:
    """The interval for the mean of the expectations."""
    if not moments.number:
        return MeanInterval(0.0, 1.0)
    half = boundary(moments.deviation, alpha / 2) / moments.number
    return MeanInterval(max(0.0, moments.mean - half), min(1.0, moments.mean + half))


def boundary(deviation: float, alpha: float) -> float:
    """The value that the sum of the differences never exceeds, with probability 1 - alpha."""
    variance = max(deviation, FIRST_VARIANCE)
    level = math.log(ZETA / alpha) + STITCH_POWER * math.log(math.log2(variance / FIRST_VARIANCE) + 1)
    return math.sqrt(K1**2 * variance * level + (K2 * level) ** 2) + K2 * level
