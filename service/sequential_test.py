"""A sequential test of whether events are more frequent in the second of two groups.

The result may be read after every block of observations. If both groups have the same rate, which may change from block
to block, the probability that it rejects at any time is at most `alpha`: the product of the factors of all blocks is an
e-process (Turner, Ly, Grünwald: Generic E-Variables for Exact Sequential k-Sample Tests, 2021).
"""

import math

PRIOR_WEIGHT = 20.0  # the weight, in observations, with which the rates of earlier blocks are moved towards their mean


class SequentialTest:
    def __init__(self, alpha: float) -> None:
        self._limit = -math.log(alpha)
        self._evidence = 0.0  # the logarithm of the product
        self._first = (0, 0)  # the observations and events so far
        self._second = (0, 0)

    def add(self, first: int, first_events: int, second: int, second_events: int) -> None:
        """Add the observations and events of each group in one block."""
        one, two = self._rates()
        if two > one:
            count = first + second
            if count:
                mean = (first * one + second * two) / count
                self._evidence += log_likelihood(first, first_events, one) - log_likelihood(first, first_events, mean)
                self._evidence += log_likelihood(second, second_events, two)
                self._evidence -= log_likelihood(second, second_events, mean)
        self._first = (self._first[0] + first, self._first[1] + first_events)
        self._second = (self._second[0] + second, self._second[1] + second_events)

    @property
    def rejected(self) -> bool:
        """Whether the second group has more events."""
        return self._evidence >= self._limit

    @property
    def summary(self) -> str:
        (first, one), (second, two) = self._first, self._second
        return f"{two} of {second}, the champion {one} of {first}"

    def _rates(self) -> tuple[float, float]:
        """The rates expected in the next block, estimated from the earlier blocks."""
        (first, one), (second, two) = self._first, self._second
        mean = (one + two + 0.5) / (first + second + 1.0)
        return (
            (one + PRIOR_WEIGHT * mean) / (first + PRIOR_WEIGHT),
            (two + PRIOR_WEIGHT * mean) / (second + PRIOR_WEIGHT),
        )


def log_likelihood(count: int, events: int, rate: float) -> float:
    """The log likelihood of this number of events among independent observations."""
    return events * math.log(rate) + (count - events) * math.log1p(-rate)
