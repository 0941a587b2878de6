"""Predicts one common row without a matrix for each step.

For a single row NumPy's fixed costs take most of the time, and plain Python is faster. This module handles the common
case only; `TabularModel.predict` handles all other cases.
"""

import math
from collections.abc import Callable

from models.encoding.target_scaling import TargetScaling
from models.engines import Matrix, NumpyEngine
from models.fast.fast_path import FastPath
from models.fast.row_encoder import can_encode, row_encoder
from models.frame import Row
from models.outputs import Outputs
from models.probabilities import probabilities
from models.tabular_model import TabularModel


class SingleRowPredictor:
    """A `FastPath` that runs encoder, engine and target scaling in turn."""

    def __init__(self, model: TabularModel) -> None:
        """model: `can_predict` must be true for it."""
        self._encode = row_encoder(model.schema, model.encoder)
        engine = model.engine
        self._steps = engine.network.steps if isinstance(engine, NumpyEngine) else (engine.outputs,)
        regression = model.output_spec.common == "value"
        self._finish = value_converter(model.encoder.target) if regression else class_probabilities

    def __call__(self, row: Row) -> Outputs | float | None:
        x = self._encode(row)
        if x is None:
            return None
        for step in self._steps:
            x = step(x)
        return self._finish(x)


def can_predict(model: TabularModel) -> bool:
    """Whether the output has one of the two common forms and `RowEncoder` can encode the rows."""
    return model.output_spec.common is not None and can_encode(model.schema, model.encoder)


def single_row_predictor(model: TabularModel) -> FastPath | None:
    """The predictor of a model; None if the general code has to predict all its rows."""
    return SingleRowPredictor(model) if can_predict(model) else None


def value_converter(target: TargetScaling) -> Callable[[Matrix], Outputs | float | None]:
    """A function from outputs (1, 1) to the value in the target's unit; None if the value is not finite."""
    unscale, is_finite = target.unscaler(), math.isfinite

    def finish(outputs: Matrix) -> float | None:
        value = unscale(outputs.item())
        return value if is_finite(value) else None

    return finish


def class_probabilities(outputs: Matrix) -> Outputs | None:
    """Convert logits (1, outputs) to probabilities; None if they are not finite."""
    primary = probabilities(outputs)
    return Outputs(primary) if math.isfinite(primary.item(0)) else None  # if one probability is not finite, none is
