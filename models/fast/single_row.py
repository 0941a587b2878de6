"""One usual row, answered without a matrix for each step.

For a single row NumPy's fixed costs are most of what a prediction takes, and Python's own arithmetic is cheaper. Only
what is asked most often is here, up to the row of the matrix that the engine is given; everything else, and the last
word, is `TabularModel.predict`.
"""

import math
from typing import Self

from models.fast.row_encoder import RowEncoder, can_encode
from models.frame import Row
from models.outputs import Outputs
from models.probabilities import probabilities
from models.tabular_model import TabularModel


class Shortcut:
    """A row to the value of a regression, or None where anything is unusual: then ask the model."""

    def __init__(self, model: TabularModel) -> None:
        self._encode = RowEncoder(model.schema, model.encoder)
        self._outputs = model.engine.outputs
        self._target = model.encoder.target

    @classmethod
    def of(cls, model: TabularModel) -> Self | None:
        """None for a model that has no short way to a value."""
        return cls(model) if model.output_spec.common == "value" and can_encode(model.schema, model.encoder) else None

    def __call__(self, row: Row) -> float | None:
        """The same operations as those of encoder, engine and target, one after the other."""
        x = self._encode(row)
        if x is None:
            return None
        value = self._target.unscale_one(self._outputs(x).item())
        return value if math.isfinite(value) else None


class ClassShortcut:
    """A row to the probability of each class, or None where anything is unusual."""

    def __init__(self, model: TabularModel) -> None:
        self._encode = RowEncoder(model.schema, model.encoder)
        self._outputs = model.engine.outputs

    @classmethod
    def of(cls, model: TabularModel) -> Self | None:
        """None for a model that has no short way to probabilities."""
        return cls(model) if model.output_spec.common == "classes" and can_encode(model.schema, model.encoder) else None

    def __call__(self, row: Row) -> Outputs | None:
        x = self._encode(row)
        if x is None:
            return None
        primary = probabilities(self._outputs(x))
        return Outputs(primary) if math.isfinite(primary.item(0)) else None  # where one is not, none is
