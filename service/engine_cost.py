"""Measures the cost of an engine for one row and for many rows, independently of other load on the machine.

The NumPy engine computes in the thread that calls it, so its cost is that thread's processor time, which excludes
waiting for a core. Other processes also disturb caches and clock rates, so the fastest of several rounds counts.
TensorFlow computes in separate threads; its cost is elapsed time.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np

from models.feature import UNSEEN
from models.frame import Frame
from models.tabular_model import TabularModel

MANY_ROWS = 256
ROUNDS = 3
MAX_ROUNDS = 6  # the maximum number of rounds if the first rounds differ
PAUSE_S = 0.02  # pause between two rounds of a model: bursts of other work seldom last for all rounds
REPEATS = 10  # repeats in a round
ROUND_S = 0.03  # after this time a round has no more than two repeats
STEADY_RATIO = 1.5  # a larger ratio between two rounds indicates a disturbance
MIN_ROW_S = 1e-9


class EngineCost(NamedTuple):
    """The seconds that the fastest predictions of one row and of MANY_ROWS rows take."""

    one_s: float
    many_s: float
    steady: bool = True  # whether it was measured twice with nearly the same result

    @property
    def row_s(self) -> float:
        """The seconds for each additional row."""
        return max(self.many_s - self.one_s, MIN_ROW_S) / (MANY_ROWS - 1)

    def merged(self, other: Self) -> Self:
        """The lower costs of two measurements of one engine. The result is steady if the two agree."""
        steady = self.plausible and other.plausible and self.agrees(other)
        return self._replace(one_s=min(self.one_s, other.one_s), many_s=min(self.many_s, other.many_s), steady=steady)

    def agrees(self, other: Self) -> bool:
        return near(self.one_s, other.one_s) and near(self.many_s, other.many_s)

    @property
    def plausible(self) -> bool:
        """Whether many rows cost more than one row."""
        return 0 < self.one_s < self.many_s


def near(a: float, b: float) -> bool:
    return max(a, b) <= STEADY_RATIO * min(a, b)


def measure(model: TabularModel, pause_s: float = PAUSE_S) -> EngineCost:
    """Warm up an engine and measure it. The cost is steady if the two fastest rounds agree."""
    return measure_all([model], pause_s)[0]


def measure_all(models: Sequence[TabularModel], pause_s: float = PAUSE_S) -> list[EngineCost]:
    """Warm up the engines of several models and measure them alternately, so that they share the pauses between
    rounds."""
    rounds: list[list[EngineCost]] = [[] for _ in models]
    while unfinished := [index for index, done in enumerate(rounds) if needs_round(done)]:
        next_round = time.monotonic() + pause_s
        for index in unfinished:
            rounds[index].append(measure_round(models[index], engine_clock(models[index])))
        if any(needs_round(rounds[index]) for index in unfinished):
            time.sleep(max(next_round - time.monotonic(), 0.0))
    return [fastest_round(done) for done in rounds]


def needs_round(rounds: list[EngineCost]) -> bool:
    return len(rounds) < ROUNDS or (len(rounds) < MAX_ROUNDS and not steady(rounds))


def fastest_round(rounds: list[EngineCost]) -> EngineCost:
    """The fastest prediction of one row and of many rows, which may be from different rounds."""
    fastest = EngineCost(min(cost.one_s for cost in rounds), min(cost.many_s for cost in rounds))
    return fastest._replace(steady=steady(rounds) and fastest.plausible)


def steady(rounds: list[EngineCost]) -> bool:
    """Whether the two fastest rounds agree, for one row and for many."""
    ones, manys = sorted(cost.one_s for cost in rounds), sorted(cost.many_s for cost in rounds)
    return near(*ones[:2]) and near(*manys[:2])


def engine_clock(model: TabularModel) -> Callable[[], float]:
    return time.thread_time if model.engine.name == "numpy" else time.monotonic


def measure_round(model: TabularModel, clock: Callable[[], float]) -> EngineCost:
    return EngineCost(fastest_prediction(model, 1, clock), fastest_prediction(model, MANY_ROWS, clock))


def fastest_prediction(model: TabularModel, rows: int, clock: Callable[[], float]) -> float:
    """The seconds that the fastest of a few predictions of `rows` rows takes."""
    frame = Frame(np.zeros((rows, len(model.schema.numeric))), np.full((rows, len(model.schema.categorical)), UNSEEN))
    fastest, until = math.inf, clock() + ROUND_S
    for repeat in range(REPEATS):
        started = clock()
        if repeat > 1 and started > until:
            break
        model.predict(frame)
        fastest = min(fastest, clock() - started)
    return fastest
