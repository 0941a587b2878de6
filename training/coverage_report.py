"""Reports the coverage of a trained model's intervals and label sets, for its card and `metrics.json`.

Each half of the test rows is tested with the scores of the other half; the stored scores are computed from all test
rows.
"""

from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from models import uncertainty
from models.uncertainty import MIN_GROUP_ROWS, Uncertainty
from training.conformalization import (
    LEVEL,
    MIN_TEST_ROWS,
    Codes,
    HeldOutRows,
    Vector,
    covered_by_folds,
    folds,
)

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # levels in the plot
Places = npt.NDArray[np.intp]


class Interval(NamedTuple):
    """The intervals of n rows. low, high: (n,)."""

    low: Vector
    high: Vector

    @classmethod
    def around(cls, rows: HeldOutRows, half_width: Vector) -> Self:
        """Intervals around the predictions, clipped to the limits of predictions."""
        predicted = rows.outputs.primary[:, 0]
        low, high = (np.clip(predicted + side * half_width, *rows.limits) for side in (-1.0, 1.0))
        return cls(low, high)

    @property
    def width(self) -> Vector:
        return self.high - self.low

    def score(self, y: Vector) -> float:
        """The interval score (Winkler 1972), smaller is better: the mean width plus 2 / (1 - level) times the mean
        distance of the true value from the interval."""
        outside = np.maximum(self.low - y, 0.0) + np.maximum(y - self.high, 0.0)
        return float((self.width + 2 / (1 - LEVEL) * outside).mean())


def report(rows: HeldOutRows, fitted: Uncertainty) -> dict[str, Any]:
    """The figures of intervals or label sets at the level 0.9 for the card and `metrics.json`."""
    if len(rows.scores) < 2 * MIN_TEST_ROWS:
        return {}
    own = interval_report(rows, fitted) if rows.schema.task == "regression" else set_report(rows, fitted)
    return own | {"coverage_at": [[level, float(covered_by_folds(rows.scores, level).mean())] for level in LEVELS]}


def row_quantiles(
    rows: HeldOutRows, fitted: Uncertainty, calibration: Places, tested: Places, level: float = LEVEL
) -> Vector:
    """(tested rows,): the largest covered score of each row, from the scores of the calibration rows."""
    groups = rows.groups(fitted)
    own = refit(fitted, rows.scores[calibration], None if groups is None else groups[calibration])
    level = min(level, own.largest_level)
    if groups is None:
        return np.full(len(tested), own.quantile(level))
    return own.quantiles_at(level).for_groups(groups[tested].tolist())


def interval_report(rows: HeldOutRows, fitted: Uncertainty) -> dict[str, Any]:
    y, predicted = rows.target, rows.outputs.primary[:, 0]
    half_width, constant_width = np.empty(len(y)), np.empty(len(y))
    for calibration, tested in folds(len(y)):
        half_width[tested] = row_quantiles(rows, fitted, calibration, tested) * rows.scale[tested]
        by_distance = uncertainty.fit(np.abs(y - predicted)[calibration])
        constant_width[tested] = by_distance.quantile(min(LEVEL, by_distance.largest_level))
    covered = np.abs(y - predicted) <= half_width
    own, constant = Interval.around(rows, half_width), Interval.around(rows, constant_width)
    by_prediction = np.array_split(np.argsort(predicted, kind="stable"), 5)
    return {
        "level": LEVEL,
        "rows": len(y),
        "coverage": float(covered.mean()),
        "mean_width": float(own.width.mean()),
        "interval_score": own.score(y),
        "constant_width": float(constant.width.mean()),
        "constant_interval_score": constant.score(y),
        "coverage_by_fifth": [float(covered[fifth].mean()) for fifth in by_prediction],
        "coverage_by_level": coverage_by_level(rows, covered),
    }


def set_report(rows: HeldOutRows, fitted: Uncertainty, level: float = LEVEL) -> dict[str, Any]:
    target = rows.target.astype(np.int64)
    members = np.empty(rows.outputs.primary.shape, dtype=bool)
    for calibration, tested in folds(len(target)):
        own = refit(fitted, rows.scores[calibration], target[calibration])
        members[tested] = label_sets(rows.outputs.primary[tested], own, min(level, own.largest_level))
    covered = members[np.arange(len(target)), target]
    sizes = members.sum(axis=1)
    return {
        "level": level,
        "rows": len(target),
        "coverage": float(covered.mean()),
        "mean_size": float(sizes.mean()),
        "single_labels": float((sizes == 1).mean()),
        "coverage_by_class": {
            str(label): float(covered[target == place].mean())
            for place, label in enumerate(rows.schema.classes or [])
            if (target == place).any()
        },
    }


def refit(fitted: Uncertainty, scores: Vector, groups: Codes | None) -> Uncertainty:
    """Fit scores with the same grouping to other rows."""
    if fitted.by == "none" or groups is None:
        return uncertainty.fit(scores)
    return uncertainty.fit(scores, groups, fitted.by, fitted.category)


def label_sets(probabilities: npt.NDArray[Any], fitted: Uncertainty, level: float) -> npt.NDArray[np.bool_]:
    """(n, classes): which labels are in the set of each row. The set always contains the most probable label."""
    return uncertainty.label_sets(probabilities, fitted.quantiles_at(level).for_groups(range(probabilities.shape[1])))


def coverage_by_level(rows: HeldOutRows, covered: npt.NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """Compute the coverage of the largest levels of each category, among levels with at least MIN_GROUP_ROWS rows."""
    found: dict[str, dict[str, float]] = {}
    for column, feature in enumerate(rows.schema.categorical):
        codes, levels = rows.frame.codes[:, column], feature.seen.levels or []
        counts = [(int((codes == code).sum()), code, level) for code, level in enumerate(levels)]
        large = sorted((entry for entry in counts if entry[0] >= MIN_GROUP_ROWS), key=lambda entry: -entry[0])[:5]
        if len(large) > 1:
            found[feature.name] = {str(level): float(covered[codes == code].mean()) for _, code, level in large}
    return found
