"""One usual row of plain numbers, answered without a matrix for each step.

For a single row NumPy's fixed costs are most of what a prediction takes, and Python's own arithmetic is cheaper. Only
the case that is asked most often is here; everything else, and the last word, is `TabularModel.predict`.
"""

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Self

import numpy as np

from models.encoding import Number, Target, clip_range
from models.features import Row
from models.predictor import Engine, TabularModel

MOST_COLUMNS = 32  # with more of them arrays win


class Shortcut:
    """A row to its value, or None where anything is unusual: then ask the model."""

    def __init__(
        self,
        pick: Callable[[Row], Sequence[float]],
        columns: list[tuple[float, float, float, float]],  # mean, 1 / deviation, and the usual range
        engine: Engine,
        target: Target,
    ) -> None:
        self._pick = pick
        self._columns = columns
        self._outputs = engine.outputs
        self._target = target

    @classmethod
    def of(cls, model: TabularModel) -> Self | None:
        """None for a model that is more than numbers, scaled, to one value."""
        features = model.schema.features
        parts = [part for part in model.encoder.numbers if isinstance(part, Number) and not part.edges]
        numbers_only = all(feature.kind == "number" and not feature.nullable for feature in features)
        if not numbers_only or len(parts) < len(features) or model.schema.task != "regression":
            return None
        if any(part.missing for part in parts) or not 2 <= len(parts) <= MOST_COLUMNS:
            return None
        columns = []
        for part, feature in zip(parts, model.schema.numeric, strict=True):
            (lowest, highest), (low, high) = clip_range(part.mean, part.deviation), feature.seen_range
            columns.append((part.mean, 1.0 / part.deviation, max(lowest, low), min(highest, high)))
        pick = itemgetter(*[feature.name for feature in features])
        return cls(pick, columns, model.engine, model.encoder.target)

    def __call__(self, row: Row) -> float | None:
        """The same operations as those of encoder, engine and target, one after the other."""
        scaled = [
            (value - mean) * inverse
            for value, (mean, inverse, low, high) in zip(self._pick(row), self._columns, strict=True)
            if low <= value <= high
        ]
        if len(scaled) < len(self._columns):
            return None
        value = self._target.unscale_one(self._outputs(np.array([scaled], dtype=np.float32)).item())
        return value if math.isfinite(value) else None
