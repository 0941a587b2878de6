"""Measures how often intervals and label sets contain the true value, on rows that were not used to compute them.

By folds: each half of the test rows is tested with the scores of the other half. By splits: the same for many random
halves. The model predicts only once, so a split costs only a quantile and a comparison.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models import uncertainty
from models.uncertainty import Uncertainty
from training.conformalization import HeldOutRows, folds
from training.coverage_report import row_quantiles

LEVELS = (0.5, 0.8, 0.9, 0.95)
BASE_TOLERANCE, DEVIATIONS = 0.01, 2.0
MEAN_TOLERANCE = 0.005


class LevelCoverage(NamedTuple):
    """The coverage at one level. tolerance: how much `by_folds` may differ from the level by chance."""

    level: float
    by_folds: float
    tolerance: float
    mean_of_splits: float

    @property
    def is_in_tolerance(self) -> bool:
        return abs(self.by_folds - self.level) <= self.tolerance

    @property
    def mean_is_in_tolerance(self) -> bool:
        return abs(self.mean_of_splits - self.level) <= MEAN_TOLERANCE


def level_coverage(rows: HeldOutRows, fitted: Uncertainty, level: float, splits: int) -> LevelCoverage:
    """Measure the coverage of scores at a level. The most probable label is not added, although a label set always
    contains it."""
    rng, count = np.random.default_rng(1), len(rows.scores)
    by_folds = np.mean([_covered(rows, fitted, level, *fold).mean() for fold in folds(count)])
    means = []
    for _ in range(splits):
        order = rng.permutation(count)
        means.append(_covered(rows, fitted, level, order[: count // 2], order[count // 2 :]).mean())
    return LevelCoverage(
        level, float(by_folds), tolerance(level, count // 2, count - count // 2), float(np.mean(means))
    )


def tolerance(level: float, calibration: int, tested: int) -> float:
    """How much the coverage of a split may differ from the level, because both halves are samples."""
    deviation = math.sqrt(level * (1 - level) * (1 / calibration + 1 / tested))
    return BASE_TOLERANCE + DEVIATIONS * deviation


def _covered(
    rows: HeldOutRows,
    fitted: Uncertainty,
    level: float,
    calibration: npt.NDArray[np.intp],
    tested: npt.NDArray[np.intp],
) -> npt.NDArray[np.bool_]:
    covered: npt.NDArray[np.bool_] = rows.scores[tested] <= row_quantiles(rows, fitted, calibration, tested, level)
    return covered


def coverage_by_fifth(rows: HeldOutRows, fitted: Uncertainty, level: float) -> tuple[list[float], list[float]]:
    """Compute the coverage by fifth of the predictions, for the intervals and for intervals of constant width."""
    predicted, distance = rows.outputs.primary[:, 0], np.abs(rows.target - rows.outputs.primary[:, 0])
    own, constant = np.empty(len(distance), dtype=bool), np.empty(len(distance), dtype=bool)
    for calibration, tested in folds(len(distance)):
        own[tested] = _covered(rows, fitted, level, calibration, tested)
        constant[tested] = distance[tested] <= uncertainty.fit(distance[calibration]).quantile(level)
    fifths = np.array_split(np.argsort(predicted, kind="stable"), 5)
    return [float(own[fifth].mean()) for fifth in fifths], [float(constant[fifth].mean()) for fifth in fifths]
