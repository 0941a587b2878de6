"""Encodes one validated row in plain Python, which is faster than NumPy for a single row."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.encoding.column_encodings import BooleanEncoding, Matrix, NumberEncoding, QuantileEncoding, RawEncoding
from models.encoding.encoder import Encoder
from models.encoding.vectorised_encodings import clip_range
from models.feature import UNSEEN, Feature
from models.frame import Row, value_getter
from models.schema import FeatureSchema

MAX_FEATURES, MAX_COLUMNS = 64, 256  # beyond these limits NumPy is faster
FLAGS = {True: 1.0, False: -1.0, None: 0.0}
FLOAT32 = np.dtype(np.float32)
ScalarEncoding = NumberEncoding | QuantileEncoding | RawEncoding
ScalarEncoder = tuple[float, float, Callable[[float], float], float]
"""Encodes one number within the range that gets no warning: the lowest and the highest number, the function that
encodes it, and the encoded value of a missing number. It is a plain tuple because Python unpacks it faster than a named
tuple."""
LinearEncoder = tuple[float, float, float, float]
"""Encodes one number that is never missing as (number - mean) · inverse: the lowest and the highest number, the mean
and the inverse."""
Pick = Callable[[Row], Sequence[object]]
EncodeRow = Callable[[Row], Matrix | None]
"""Encodes a validated row as the same (1, width) matrix as `Encoder.encode`; None if the row is not a common one."""


class RowEncoder:
    """An `EncodeRow` for all rows that `can_encode`."""

    def __init__(self, schema: FeatureSchema, encoder: Encoder) -> None:
        """encoder: `can_encode` must be true for it."""
        numbers, flags = list[tuple[Feature, ScalarEncoding]](), list[Feature]()
        for feature, part in zip(schema.numeric, encoder.numbers, strict=True):
            if isinstance(part, ScalarEncoding):
                numbers.append((feature, part))
            else:
                flags.append(feature)
        levels = [
            (schema.categorical[column], schema.frames.codes[column], part)
            for column, part in encoder.ordered_categories
        ]
        self._columns = [scalar_encoder(part, feature) for feature, part in numbers]
        self._linear = linear_encoders(numbers)
        self._gaps = [place for place, (_, part) in enumerate(numbers) if part.missing]
        self._tables = [(codes, part.table.tolist()) for _, codes, part in levels]
        self._pick_numbers = _value_getter([feature for feature, _ in numbers])
        self._pick_flags = _value_getter(flags) if flags else None
        self._pick_levels = _value_getter([feature for feature, _, _ in levels])
        self._shape = (1, encoder.width)
        self._pack = packer(encoder.width)

    def __call__(self, row: Row) -> Matrix | None:
        values: Sequence[Any] = self._pick_numbers(row)
        if self._linear:
            columns = zip(values, self._linear, strict=True)
            x = [(value - mean) * inverse for value, (low, high, mean, inverse) in columns if low <= value <= high]
            if len(x) < len(values):
                return None
        else:
            x = []
            for value, (low, high, encode, filled) in zip(values, self._columns, strict=True):
                if value is None:
                    x.append(filled)
                elif low <= value <= high:
                    x.append(encode(value))
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
        return np.ndarray(self._shape, FLOAT32, self._pack(*x))


def linear_row_encoder(columns: Sequence[Feature], encoders: Sequence[LinearEncoder]) -> EncodeRow:
    """A `RowEncoder` for rows that contain only numbers with a linear encoder."""
    width, pick, pack, matrix = len(columns), value_getter(columns), packer(len(columns)), np.ndarray
    shape = (1, width)
    lows, highs, means, inverses = zip(*encoders, strict=True)

    def encode(row: Row) -> Matrix | None:
        each = zip(pick(row), lows, highs, means, inverses)  # noqa: B905 - the check takes a tenth of the time
        x = [(value - mean) * inverse for value, low, high, mean, inverse in each if low <= value <= high]
        return matrix(shape, FLOAT32, pack(*x)) if len(x) == width else None

    return encode


def packer(width: int) -> Callable[..., bytes]:
    """A function from `width` numbers to the bytes of a row. Together with np.ndarray it takes half the time of
    np.array."""
    return struct.Struct(f"{width}f").pack


def row_encoder(schema: FeatureSchema, encoder: Encoder) -> EncodeRow:
    """The fastest encoder of one row. encoder: `can_encode` must be true for it."""
    columns = zip(schema.numeric, encoder.numbers, strict=True)
    encoders = linear_encoders([(feature, part) for feature, part in columns if isinstance(part, ScalarEncoding)])
    if encoders and len(encoders) == len(schema.features) == encoder.width:
        return linear_row_encoder(schema.numeric, encoders)
    return RowEncoder(schema, encoder)


def can_encode(schema: FeatureSchema, encoder: Encoder) -> bool:
    """Whether all numbers have the same encoding without bins, and there are few columns, no dates and no texts."""
    kinds = {type(part) for part in encoder.numbers}
    bins = any(isinstance(part, NumberEncoding) and part.edges for part in encoder.numbers)
    texts = any(feature.kind == "text" for feature in schema.numeric)
    few = len(schema.features) <= MAX_FEATURES and encoder.width <= MAX_COLUMNS
    return (
        few
        and not bins
        and not texts
        and kinds <= {BooleanEncoding, NumberEncoding, QuantileEncoding, RawEncoding}
        and not (QuantileEncoding in kinds and kinds & {NumberEncoding, RawEncoding})
    )


def scalar_encoder(part: ScalarEncoding, feature: Feature) -> ScalarEncoder:
    if isinstance(part, QuantileEncoding):
        return *feature.seen_range, part.curve, part.curve(part.fill)
    low, high, mean, inverse = linear_encoder(part, feature)
    lowest, highest = clip_range(part)
    fill = min(max(part.fill, lowest), highest)
    return low, high, lambda x: (x - mean) * inverse, (fill - mean) * inverse


def linear_encoder(part: NumberEncoding | RawEncoding, feature: Feature) -> LinearEncoder:
    (low, high), (lowest, highest) = feature.seen_range, clip_range(part)
    return max(low, lowest), min(high, highest), part.mean, 1.0 / part.deviation


def linear_encoders(numbers: Sequence[tuple[Feature, ScalarEncoding]]) -> list[LinearEncoder]:
    """The linear encoders of all numbers; empty if a number has another encoding or can be missing."""
    encoders = []
    for feature, part in numbers:
        if isinstance(part, QuantileEncoding) or feature.nullable:
            return []
        encoders.append(linear_encoder(part, feature))
    return encoders


def _value_getter(features: Sequence[Feature]) -> Pick:
    return value_getter(features) if features else lambda row: ()
