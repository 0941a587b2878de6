"""Computes the scores that determine the intervals and label sets of a trained model.

The scores are computed from the test rows: the validation rows were used to select the trial and the number of epochs,
so their errors are too small.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

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
from training.streaming.stored_matrix import Matrix

LEVEL = 0.9  # level of the coverage in the card
MIN_TEST_ROWS = 20  # with fewer rows a model gets no scores
# If the coverage of a level of a category is further from LEVEL than this number of standard deviations, the levels of
# this category get their own scores.
MIN_DEVIATIONS = 4.0
Vector = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOutRows:
    """Rows that were used neither to train the model nor to select its settings, and their predictions.

    target: (n,) values or class numbers. limits: the limits of a regression's predictions, if there are any.
    """

    frame: Frame
    target: npt.NDArray[Any]
    outputs: Outputs
    schema: FeatureSchema
    limits: tuple[float, float] = (-np.inf, np.inf)

    @cached_property
    def scores(self) -> Vector:
        """(n,): the error of each prediction as a score, see `models.uncertainty`."""
        primary = self.outputs.primary
        if self.schema.task == "regression":
            relative: Vector = np.abs(self.target - primary[:, 0]) / self.scale
            return relative
        improbable: Vector = 1.0 - primary[np.arange(len(primary)), self.target].astype(np.float64)
        return improbable

    @property
    def scale(self) -> Vector:
        return np.asarray(self.outputs.extras[SCALE], dtype=np.float64)

    def groups(self, fitted: Uncertainty) -> Codes | None:
        """(n,): the group of each row, or None if `fitted` has no groups."""
        if fitted.by == "none":
            return None
        if fitted.category is None:
            return self.target.astype(np.int64)
        names = [feature.name for feature in self.schema.categorical]
        return np.asarray(self.frame.codes[:, names.index(fitted.category)])


def hidden_outputs(network: Network | None, keras_model: Any, x: Matrix) -> Matrix:
    """(n, units): the outputs of the last hidden layer, concatenated for the members of an ensemble.

    keras_model: the same network in Keras, used if there is no NumPy network.
    """
    if network is None:
        hidden = with_hidden_layer(keras_model).predict(x, verbose=0)[1]
    else:
        layers, _ = split_output_layer(network.layers)
        hidden = Network(layers).predict(x)
    return np.asarray(hidden.reshape(len(x), -1), dtype=np.float32)


def fit_uncertainty(rows: HeldOutRows) -> Uncertainty | None:
    """The scores of a model, or None if there are too few rows."""
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
    """The index of the category whose levels are covered most unevenly, or None if all are covered equally."""
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
    """Split the rows into random halves; each half is tested once with the scores of the other half."""
    order = np.random.default_rng(0).permutation(count)
    first, second = order[: count // 2], order[count // 2 :]
    return [(first, second), (second, first)]


def covered_by_folds(scores: Vector, level: float = LEVEL) -> npt.NDArray[np.bool_]:
    """(n,): whether each row is covered by the scores of the other half."""
    covered = np.empty(len(scores), dtype=bool)
    for calibration, tested in folds(len(scores)):
        covered[tested] = scores[tested] <= uncertainty.fit(scores[calibration]).quantile(
            min(level, len(calibration) / (len(calibration) + 1))
        )
    return covered


def held_out_rows(model: TabularModel, frame: Frame, target: npt.NDArray[Any]) -> HeldOutRows:
    """Predict the test rows. frame, target: the rows and the target of the test set."""
    scaling = model.encoder.target
    low, high = (-np.inf, np.inf) if scaling.low is None or scaling.high is None else (scaling.low, scaling.high)
    return HeldOutRows(frame, target, model.with_scale.predict(frame), model.schema, (low, high))


def with_scale_of(model: TabularModel, rows: HeldOutRows) -> HeldOutRows:
    """Return the rows with the scale that `model` predicts for them, or unchanged if they have no scale."""
    if SCALE not in rows.outputs.extras:
        return rows
    scale = model.with_scale.predict(rows.frame).extras[SCALE]
    outputs = Outputs(rows.outputs.primary, {**rows.outputs.extras, SCALE: scale})
    return replace(rows, outputs=outputs)
