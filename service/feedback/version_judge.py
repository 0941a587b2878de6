"""Compares the predictions of one version with the truth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.feature import Scalar
from models.output_options import ExtendedModel, OutputOptions, with_options
from models.outputs import Outputs
from models.rows import ValidatedRows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel

LEVEL = 0.9  # level of the intervals and label sets whose coverage is observed
LARGEST_ERROR = 10.0  # in standard deviations of the target; larger errors count as this error
Vector = npt.NDArray[np.float64]


class VersionJudge:
    """Computes the errors of a version. metric: `mae` or `accuracy`. scale: the error that counts as 1."""

    def __init__(self, model: TabularModel) -> None:
        self._model = model
        self._regression = model.schema.task == "regression"
        self.metric = "mae" if self._regression else "accuracy"
        self.scale = LARGEST_ERROR * model.tolerance() if self._regression else 1.0
        self._positions = class_positions(model.schema)
        self._extended: ExtendedModel | None = None
        if model.uncertainty is not None and model.uncertainty.largest_level >= LEVEL:
            levels = (LEVEL,)
            options = OutputOptions(intervals=levels) if self._regression else OutputOptions(sets=levels)
            self._extended = with_options(model, options)

    @property
    def has_coverage(self) -> bool:
        return self._extended is not None

    def predict(self, rows: ValidatedRows) -> Outputs:
        """The outputs for valid rows, with the intervals or label sets for the coverage. Raises ArithmeticError if an
        output is not finite."""
        outputs = (self._model if self._extended is None else self._extended.model).predict(rows.frame)
        if not outputs.all_finite():
            raise ArithmeticError("the engine's output is not finite")
        return outputs

    def errors(self, primary: npt.NDArray[Any], truths: Sequence[Scalar]) -> Vector:
        """(n,) between 0 and 1: the absolute error as a fraction of `scale`, or 1 for a wrong label."""
        if self._regression:
            with np.errstate(over="ignore"):
                difference = np.abs(primary[:, 0] - np.array(truths, dtype=np.float64))
            errors: Vector = np.minimum(difference / self.scale, 1.0)
            return errors
        wrong: Vector = (primary.argmax(axis=1) != self._classes(truths)).astype(np.float64)
        return wrong

    def covered(self, outputs: Outputs, truths: Sequence[Scalar]) -> Vector:
        """(n,) 1 where the interval or label set of LEVEL contains the truth, else 0. Needs `has_coverage`."""
        assert self._extended is not None
        tensors = self._extended.model.output_spec.by_name
        if self._regression:
            truth = np.array(truths, dtype=np.float64)
            inside = (tensors["low"].array(outputs) <= truth) & (truth <= tensors["high"].array(outputs))
            return inside.astype(np.float64)
        classes = self._classes(truths)
        members = tensors["set"].array(outputs)[np.arange(len(classes)), classes]
        return np.where(classes >= 0, members, False).astype(np.float64)

    def _classes(self, truths: Sequence[Scalar]) -> npt.NDArray[np.intp]:
        """(n,) the position of each class, or -1 for a class that the version does not have."""
        return np.array([self._positions.get(class_key_of(truth), -1) for truth in truths], dtype=np.intp)


def class_positions(schema: FeatureSchema) -> dict[tuple[bool, Scalar], int]:
    return {class_key_of(label): position for position, label in enumerate(schema.classes or ())}


def class_key_of(label: Scalar) -> tuple[bool, Scalar]:
    """A key that distinguishes true from 1, which are equal in Python."""
    return isinstance(label, bool), label
