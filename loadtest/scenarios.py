"""How much is asked when: the shapes of load, as pieces of constant level."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Stage(NamedTuple):
    """A stretch of a scenario: its part of the whole time, and its level as a multiple of the rate or the users."""

    part: float
    level: float


class LoadScenario(NamedTuple):
    about: str
    seconds: float
    pieces: Sequence[Stage]

    def levels(self, seconds: float) -> list[tuple[float, float]]:
        """(end in seconds, level) of each piece."""
        ends = np.cumsum([piece.part for piece in self.pieces]) / sum(piece.part for piece in self.pieces)
        return [(float(end) * seconds, piece.level) for end, piece in zip(ends, self.pieces, strict=True)]

    def level(self, moment: float, seconds: float) -> float | None:
        """The level at a moment; None when it is over."""
        return next((level for end, level in self.levels(seconds) if moment < end), None)


SCENARIOS: Mapping[str, LoadScenario] = {
    "steady": LoadScenario("the same rate all the time", 30, [Stage(1, 1)]),
    "step": LoadScenario(
        "a quarter, a half, three quarters, all of it", 40, [Stage(1, 0.25 * step) for step in (1, 2, 3, 4)]
    ),
    "spike": LoadScenario("three times as much for a fifth of the time", 30, [Stage(2, 1), Stage(1, 3), Stage(2, 1)]),
    "soak": LoadScenario("the same rate for long; watch the memory", 600, [Stage(1, 1)]),
}


def arrivals(scenario: LoadScenario, rate: float, seconds: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """When requests are due: independent of each other (Poisson), `rate` a second where the level is 1."""
    levels = scenario.levels(seconds)
    starts = [0.0, *[end for end, _ in levels]]
    counts = [level * rate * (end - start) for start, (end, level) in zip(starts, levels, strict=False)]
    whole = np.concatenate([[0.0], np.cumsum(counts)])  # requests due before each start, on average
    gaps = rng.exponential(size=int(whole[-1] + 6 * np.sqrt(whole[-1]) + 10))
    moments = np.interp(np.cumsum(gaps), whole, starts, right=np.inf)
    return np.asarray(moments[moments < seconds], dtype=np.float64)
