"""One usual row, answered without a matrix for each step.

For a single row NumPy's fixed costs are most of what a prediction takes, and Python's own arithmetic is cheaper. Only
what is asked most often is here, up to the row of the matrix that the engine is given; everything else, and the last
word, is `TabularModel.predict`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np

from models.encoding import Encoder, Flag, Matrix, Number, Quantile, clip_range
from models.features import UNSEEN, Feature, FeatureSchema, Row, picker
from models.predictor import Answers, TabularModel, probabilities

MOST_FEATURES, MOST_COLUMNS = 64, 256  # with more of them arrays win
FLAGS = {True: 1.0, False: -1.0, None: 0.0}

Pick = Callable[[Row], Sequence[object]]


class Column(NamedTuple):
    """A number's way into the matrix, within the range where nothing is to be said of it."""

    low: float
    high: float
    encode: Callable[[float], float]
    filled: float  # what stands for a missing one

    @classmethod
    def of(cls, part: Number | Quantile, feature: Feature) -> Self:
        low, high = feature.seen_range
        if isinstance(part, Quantile):
            return cls(low, high, part.curve, part.curve(part.fill))
        (lowest, highest), mean, inverse = clip_range(part.mean, part.deviation), part.mean, 1.0 / part.deviation
        fill = min(max(part.fill, lowest), highest)
        return cls(max(low, lowest), min(high, highest), lambda x: (x - mean) * inverse, (fill - mean) * inverse)


class RowEncoder:
    """A checked row to the same (1, width) that `Encoder.encode` gives, or None where anything is unusual."""

    def __init__(self, schema: FeatureSchema, encoder: Encoder) -> None:
        """Of an encoder that `can_encode`."""
        numbers, flags = list[tuple[Feature, Number | Quantile]](), list[Feature]()
        for feature, part in zip(schema.numeric, encoder.numbers, strict=True):
            if isinstance(part, Number | Quantile):
                numbers.append((feature, part))
            else:
                flags.append(feature)
        levels = [(schema.categorical[column], schema.codes[column], part) for column, part in encoder.ordered]
        self._columns = [Column.of(part, feature) for feature, part in numbers]
        self._gaps = [place for place, (_, part) in enumerate(numbers) if part.missing]
        self._tables = [(codes, part.table.tolist()) for _, codes, part in levels]
        self._pick_numbers = _picker([feature for feature, _ in numbers])
        self._pick_flags = _picker(flags) if flags else None
        self._pick_levels = _picker([feature for feature, _, _ in levels])

    def __call__(self, row: Row) -> Matrix | None:
        values = self._pick_numbers(row)
        x = []
        for value, (low, high, encode, filled) in zip(values, self._columns, strict=True):
            if value is None:
                x.append(filled)
            elif low <= value <= high:  # type: ignore[operator]  # the row was checked
                x.append(encode(value))  # type: ignore[arg-type]
            else:
                return None
        for place in self._gaps:
            x.append(1.0 if values[place] is None else 0.0)
        if self._pick_flags is not None:
            x += map(FLAGS.__getitem__, self._pick_flags(row))  # type: ignore[arg-type]
        if self._tables:
            for level, (codes, table) in zip(self._pick_levels(row), self._tables, strict=True):
                code = codes[level]  # type: ignore[index]
                if code == UNSEEN:
                    return None
                x += table[code]
        return np.array([x], dtype=np.float32)


def can_encode(schema: FeatureSchema, encoder: Encoder) -> bool:
    """Whether numbers are all of one kind without bins, and there are few columns and no dates."""
    kinds = {type(part) for part in encoder.numbers}
    bins = any(isinstance(part, Number) and part.edges for part in encoder.numbers)
    few = len(schema.features) <= MOST_FEATURES and encoder.width <= MOST_COLUMNS
    return few and not bins and kinds <= {Flag, Number, Quantile} and not kinds >= {Number, Quantile}


def _picker(features: Sequence[Feature]) -> Pick:
    return picker(features) if features else lambda row: ()


class Shortcut:
    """A row to the value of a regression, or None where anything is unusual: then ask the model."""

    def __init__(self, model: TabularModel) -> None:
        self._encode = RowEncoder(model.schema, model.encoder)
        self._outputs = model.engine.outputs
        self._target = model.encoder.target

    @classmethod
    def of(cls, model: TabularModel) -> Self | None:
        """None for a model that has no short way to a value."""
        regression = model.schema.task == "regression"
        return cls(model) if regression and can_encode(model.schema, model.encoder) else None

    def __call__(self, row: Row) -> float | None:
        """The same operations as those of encoder, engine and target, one after the other."""
        x = self._encode(row)
        if x is None:
            return None
        value = self._target.unscale_one(self._outputs(x).item())
        return value if math.isfinite(value) else None


class ClassShortcut:
    """A row to the probability of each class, (1, classes), or None where anything is unusual."""

    def __init__(self, model: TabularModel) -> None:
        self._encode = RowEncoder(model.schema, model.encoder)
        self._outputs = model.engine.outputs

    @classmethod
    def of(cls, model: TabularModel) -> Self | None:
        """None for a model that has no short way to probabilities."""
        regression = model.schema.task == "regression"
        return cls(model) if not regression and can_encode(model.schema, model.encoder) else None

    def __call__(self, row: Row) -> Answers | None:
        x = self._encode(row)
        if x is None:
            return None
        answers = probabilities(self._outputs(x))
        return answers if math.isfinite(answers.item(0)) else None  # where one is not, none is
