"""One common row, answered without a matrix for each step.

For a single row NumPy's fixed costs are most of what a prediction takes, and Python's own arithmetic is cheaper. Only
the most common case is here, up to the row of the matrix that the engine gets; everything else, and the last word, is
`TabularModel.predict`. `python -m loadtest bench fast` measures what it saves.
"""

import math
from typing import Protocol, Self

from models.fast.row_encoder import RowEncoder, can_encode
from models.frame import Row
from models.outputs import Outputs
from models.probabilities import probabilities
from models.tabular_model import TabularModel


class FastPath(Protocol):
    """Answers one valid row: the value of a regression, the outputs of a classification, or None: ask the model."""

    def __call__(self, row: Row) -> Outputs | float | None: ...


class SingleRow:
    """The operations of encoder, engine and target, one after the other, on numbers in place of matrices."""

    def __init__(self, model: TabularModel) -> None:
        self._encode = RowEncoder(model.schema, model.encoder)
        self._outputs = model.engine.outputs
        self._unscale = model.encoder.target.unscale_one if model.output_spec.common == "value" else None

    @classmethod
    def of(cls, model: TabularModel) -> Self | None:
        """None for a model whose rows or answers are not of the common kind."""
        common = model.output_spec.common is not None and can_encode(model.schema, model.encoder)
        return cls(model) if common else None

    def __call__(self, row: Row) -> Outputs | float | None:
        x = self._encode(row)
        if x is None:
            return None
        if self._unscale is not None:
            value = self._unscale(self._outputs(x).item())
            return value if math.isfinite(value) else None
        primary = probabilities(self._outputs(x))
        return Outputs(primary) if math.isfinite(primary.item(0)) else None  # where one is not finite, none is
