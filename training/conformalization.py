"""Intervals and label sets of a trained model: their scores, and their coverage of rows that selected nothing.

The scores come from the test rows: the validation rows chose the trial and the number of epochs, so their errors are
too small. The reported coverage comes from two folds: each half of the test rows is checked with the scores of the
other half. The stored scores are those of all test rows.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models import uncertainty
from models.engines import with_hidden_layer
from models.frame import Frame
from models.network.network import Network
from models.network.scale_head import split_output_layer
from models.outputs import Outputs
from models.schema import FeatureSchema
from models.tabular_model import SCALE, TabularModel
from models.uncertainty import MIN_GROUP_ROWS, Uncertainty
from training.training_run import FitResult, Matrix

LEVEL = 0.9  # of the coverage in the card
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the picture
MIN_TEST_ROWS = 20  # with fewer rows a model gets no scores
MIN_DEVIATIONS = 4.0  # from the level, for a category's levels to get their own scores
Vector = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class HeldOutRows:
    """Rows that neither trained the model nor chose its settings, with their answers.

    target: (n,) values or class numbers. scale: (n,) of a regression. limits: of a regression's predictions, if any.
    """

    frame: Frame
    target: npt.NDArray[Any]
    outputs: Outputs
    schema: FeatureSchema
    limits: tuple[float, float] = (-np.inf, np.inf)

    @cached_property
    def scores(self) -> Vector:
        """(n,): how far each prediction was from the truth; see `models.uncertainty`."""
        primary = self.outputs.primary
        if self.schema.task == "regression":
            relative: Vector = np.abs(self.target - primary[:, 0]) / self.scale
            return relative
        improbable: Vector = 1.0 - primary[np.arange(len(primary)), self.target].astype(np.float64)
        return improbable

    @property
    def scale(self) -> Vector:
        return np.asarray(self.outputs.extras[SCALE], dtype=np.float64)

    def interval(self, half_width: Vector) -> "Interval":
        """Around the predictions, within the limits."""
        predicted = self.outputs.primary[:, 0]
        low, high = (np.clip(predicted + side * half_width, *self.limits) for side in (-1.0, 1.0))
        return Interval(low, high)

    def groups(self, fitted: Uncertainty) -> Codes | None:
        """(n,): the group of each row, None if these scores have none."""
        if fitted.by == "none":
            return None
        if fitted.category is None:
            return self.target.astype(np.int64)
        names = [feature.name for feature in self.schema.categorical]
        return np.asarray(self.frame.codes[:, names.index(fitted.category)])


class Interval(NamedTuple):
    """low, high: (n,)."""

    low: Vector
    high: Vector

    @property
    def width(self) -> Vector:
        return self.high - self.low

    def score(self, y: Vector) -> float:
        """The mean width plus 2 / (1 - level) times how far the truth is outside; smaller is better (Winkler 1972)."""
        outside = np.maximum(self.low - y, 0.0) + np.maximum(y - self.high, 0.0)
        return float((self.width + 2 / (1 - LEVEL) * outside).mean())


def hidden_outputs(fitted: FitResult, x: Matrix) -> Matrix:
    """(n, units): the last hidden layer's outputs, those of an ensemble's members side by side."""
    if fitted.network is None:
        hidden = with_hidden_layer(fitted.keras).predict(x, verbose=0)[1]
    else:
        layers, _ = split_output_layer(fitted.network.layers)
        hidden = Network(layers).predict(x)
    return np.asarray(hidden.reshape(len(x), -1), dtype=np.float32)


def fit_uncertainty(rows: HeldOutRows) -> Uncertainty | None:
    """The scores of a model, None if there are too few rows."""
    scores = rows.scores
    if len(scores) < MIN_TEST_ROWS:
        return None
    if rows.schema.task != "regression":
        return uncertainty.fit(scores, rows.target.astype(np.int64), by="class")
    category = uneven_category(rows)
    if category is None:
        return uncertainty.fit(scores)
    return uncertainty.fit(scores, rows.frame.codes[:, category], "category", rows.schema.categorical[category].name)


def uneven_category(rows: HeldOutRows) -> int | None:
    """The column of the codes whose levels are covered most unevenly, None if all are covered alike."""
    covered = covered_by_folds(rows.scores)
    deviation = np.sqrt(LEVEL * (1 - LEVEL))
    furthest: dict[int, float] = {}
    for column in range(rows.frame.codes.shape[1]):
        codes = rows.frame.codes[:, column]
        levels, counts = np.unique(codes, return_counts=True)
        large = [(level, count) for level, count in zip(levels, counts, strict=True) if count >= MIN_GROUP_ROWS]
        if len(large) < 2:
            continue
        distances = [abs(covered[codes == level].mean() - LEVEL) / deviation * np.sqrt(count) for level, count in large]
        furthest[column] = max(distances)
    if not furthest:
        return None
    column = max(furthest, key=furthest.__getitem__)
    return column if furthest[column] >= MIN_DEVIATIONS else None


def folds(count: int) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Two halves of the rows in random order; each provides scores once and is tested once."""
    order = np.random.default_rng(0).permutation(count)
    first, second = order[: count // 2], order[count // 2 :]
    return [(first, second), (second, first)]


def covered_by_folds(scores: Vector, level: float = LEVEL) -> npt.NDArray[np.bool_]:
    """(n,): whether each row is covered by the scores of the other half."""
    covered = np.empty(len(scores), dtype=bool)
    for calibration, judged in folds(len(scores)):
        covered[judged] = scores[judged] <= uncertainty.fit(scores[calibration]).quantile(
            min(level, len(calibration) / (len(calibration) + 1))
        )
    return covered


def report(rows: HeldOutRows, fitted: Uncertainty) -> dict[str, Any]:
    """The figures of intervals or label sets at the level 0.9 for the card and `metrics.json`."""
    if len(rows.scores) < 2 * MIN_TEST_ROWS:
        return {}
    own = interval_report(rows, fitted) if rows.schema.task == "regression" else set_report(rows, fitted)
    return own | {"coverage_at": [[level, float(covered_by_folds(rows.scores, level).mean())] for level in LEVELS]}


def judged_quantiles(
    rows: HeldOutRows, fitted: Uncertainty, calibration: Places, judged: Places, level: float = LEVEL
) -> Vector:
    """(tested rows,): the score up to which each of them is covered, from the scores of the calibration rows."""
    groups = rows.groups(fitted)
    own = refit(fitted, rows.scores[calibration], None if groups is None else groups[calibration])
    level = min(level, own.largest_level)
    if groups is None:
        return np.full(len(judged), own.quantile(level))
    return own.at(level).of(groups[judged].tolist())


def interval_report(rows: HeldOutRows, fitted: Uncertainty) -> dict[str, Any]:
    y, predicted = rows.target, rows.outputs.primary[:, 0]
    half_width, constant_width = np.empty(len(y)), np.empty(len(y))
    for calibration, judged in folds(len(y)):
        half_width[judged] = judged_quantiles(rows, fitted, calibration, judged) * rows.scale[judged]
        by_distance = uncertainty.fit(np.abs(y - predicted)[calibration])
        constant_width[judged] = by_distance.quantile(min(LEVEL, by_distance.largest_level))
    covered = np.abs(y - predicted) <= half_width
    own, constant = rows.interval(half_width), rows.interval(constant_width)
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
    for calibration, judged in folds(len(target)):
        own = refit(fitted, rows.scores[calibration], target[calibration])
        members[judged] = label_sets(rows.outputs.primary[judged], own, min(level, own.largest_level))
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
    """The same kind of scores from other rows."""
    if fitted.by == "none" or groups is None:
        return uncertainty.fit(scores)
    return uncertainty.fit(scores, groups, fitted.by, fitted.category)


def label_sets(probabilities: npt.NDArray[Any], fitted: Uncertainty, level: float) -> npt.NDArray[np.bool_]:
    """(n, classes): which labels are in the set of each row. The most probable one always is."""
    return uncertainty.label_sets(probabilities, fitted.at(level).of(range(probabilities.shape[1])))


def coverage_by_level(rows: HeldOutRows, covered: npt.NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """The covered share of the largest levels of each category that has levels of MIN_GROUP_ROWS rows."""
    found: dict[str, dict[str, float]] = {}
    for column, feature in enumerate(rows.schema.categorical):
        codes, levels = rows.frame.codes[:, column], feature.seen.levels or []
        counts = [(int((codes == code).sum()), code, level) for code, level in enumerate(levels)]
        large = sorted((entry for entry in counts if entry[0] >= MIN_GROUP_ROWS), key=lambda entry: -entry[0])[:5]
        if len(large) > 1:
            found[feature.name] = {str(level): float(covered[codes == code].mean()) for _, code, level in large}
    return found


def held_out_rows(model: TabularModel, frame: Frame, target: npt.NDArray[Any]) -> HeldOutRows:
    """frame, target: the test set's."""
    scaling = model.encoder.target
    low, high = (-np.inf, np.inf) if scaling.low is None or scaling.high is None else (scaling.low, scaling.high)
    return HeldOutRows(frame, target, model.with_scale.predict(frame), model.schema, (low, high))
