"""Load over time: scenarios made of stages with a constant level."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Stage(NamedTuple):
    """part: duration relative to the other stages. level: a multiple of the rate or of the number of users."""

    part: float
    level: float


class LoadScenario(NamedTuple):
    description: str
    seconds: float
    stages: Sequence[Stage]

    def levels(self, seconds: float) -> list[tuple[float, float]]:
        """(end in seconds, level) of each stage."""
        ends = np.cumsum([stage.part for stage in self.stages]) / sum(stage.part for stage in self.stages)
        return [(float(end) * seconds, stage.level) for end, stage in zip(ends, self.stages, strict=True)]

    def level(self, time: float, seconds: float) -> float | None:
        """The level at a time in seconds; None after the end."""
        return next((level for end, level in self.levels(seconds) if time < end), None)


SCENARIOS: Mapping[str, LoadScenario] = {
    "steady": LoadScenario("a constant rate", 30, [Stage(1, 1)]),
    "step": LoadScenario(
        "a quarter, half, three quarters and all of the rate", 40, [Stage(1, 0.25 * step) for step in (1, 2, 3, 4)]
    ),
    "spike": LoadScenario("three times the rate for a fifth of the time", 30, [Stage(2, 1), Stage(1, 3), Stage(2, 1)]),
    "soak": LoadScenario("a constant rate for a long time, to observe memory", 600, [Stage(1, 1)]),
}


def arrivals(scenario: LoadScenario, rate: float, seconds: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Times of independent requests (a Poisson process) with `rate` requests per second at level 1."""
    levels = scenario.levels(seconds)
    starts = [0.0, *[end for end, _ in levels]]
    counts = [level * rate * (end - start) for start, (end, level) in zip(starts, levels, strict=False)]
    expected = np.concatenate([[0.0], np.cumsum(counts)])  # expected number of requests before the start of each stage
    gaps = rng.exponential(size=int(expected[-1] + 6 * np.sqrt(expected[-1]) + 10))
    times = np.interp(np.cumsum(gaps), expected, starts, right=np.inf)
    return np.asarray(times[times < seconds], dtype=np.float64)
