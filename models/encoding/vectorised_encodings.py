"""The fitted parts of an encoder as arrays, so that a row is encoded by a few array operations, not by a few per
column."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np

from models.encoding.column_encodings import (
    Codes,
    DateEncoding,
    Indices,
    LevelColumns,
    Matrix,
    Matrix64,
    NumberEncoding,
    NumericEncoding,
    QuantileEncoding,
    RawEncoding,
    Vector,
)
from models.frame import any_true

CLIP = 100.0  # standard deviations: the network stays finite for 1e300
MAX_RAW = float(np.finfo(np.float32).max)  # a number beyond it would be infinite in the matrix
SCALED = (NumberEncoding, RawEncoding)
FEW_INTERPOLATED = 4  # for up to this many rows Python's bisection is faster than np.interp


@dataclass(frozen=True)
class ScaledNumbers:
    """All scaled numbers of an encoder, one array for each parameter."""

    columns: Indices  # the positions of these numbers in Frame.numbers
    lowest: Matrix64  # z leaves -CLIP..CLIP below `lowest` and above `highest`; clipping x first avoids overflow
    highest: Matrix64
    mean: Matrix64
    inverse_deviation: Matrix64
    fill: Matrix64
    third: Matrix64  # the factor of the smooth clip: 1/3, or 0 for numbers that are clipped hard
    missing_indicators: Indices  # the numbers that have a column for missing values
    of_bin: Indices  # the index of the scaled number that each bin encodes
    low: Matrix64
    high: Matrix64
    inverse_width: Matrix64

    @classmethod
    def from_parts(cls, parts: Sequence[NumericEncoding]) -> Self:
        numbers = [(column, part) for column, part in enumerate(parts) if isinstance(part, SCALED)]
        bins = [(index, low, high) for index, (_, part) in enumerate(numbers) for low, high in pairwise(part.edges)]
        ends = [clip_range(part) for _, part in numbers]
        return cls(
            columns=np.array([column for column, _ in numbers], dtype=np.intp),
            lowest=one_row(low for low, _ in ends),
            highest=one_row(high for _, high in ends),
            mean=one_row(part.mean for _, part in numbers),
            inverse_deviation=one_row(1.0 / part.deviation for _, part in numbers),
            fill=one_row(part.fill for _, part in numbers),
            third=one_row(1 / 3 if part.edges else 0.0 for _, part in numbers),
            missing_indicators=np.array(
                [index for index, (_, part) in enumerate(numbers) if part.missing], dtype=np.intp
            ),
            of_bin=np.array([index for index, _, _ in bins], dtype=np.intp),
            low=one_row(low for _, low, _ in bins),
            high=one_row(high for _, _, high in bins),
            inverse_width=one_row(1.0 / (high - low) for _, low, high in bins),
        )


def one_row(values: Iterable[float]) -> Matrix64:
    """(1, columns), so NumPy does not broadcast for a single row, which saves half of an operation's time."""
    return np.array(list(values), dtype=np.float64).reshape(1, -1)


def clip_range(part: NumberEncoding | RawEncoding) -> tuple[float, float]:
    """The range to which x is clipped: within its bounds, and with z within -CLIP..CLIP."""
    if isinstance(part, RawEncoding):
        return -MAX_RAW, MAX_RAW
    low, high = finite_range(part.mean, part.deviation)
    return (low if part.low is None else max(low, part.low)), (high if part.high is None else min(high, part.high))


def finite_range(mean: float, deviation: float) -> tuple[float, float]:
    """The range of x with (x - mean) / deviation within -CLIP..CLIP, in floating point."""
    largest, reach, inverse = sys.float_info.max, CLIP * deviation, 1.0 / deviation
    low, high = max(mean - reach, max(mean, 0.0) - largest), min(mean + reach, min(mean, 0.0) + largest)
    while (high - mean) * inverse > CLIP:  # by rounding
        high = math.nextafter(high, mean)
    while (low - mean) * inverse < -CLIP:
        low = math.nextafter(low, mean)
    return low, high


@dataclass(frozen=True)
class QuantileNumbers:
    """All quantile-encoded numbers of an encoder."""

    parts: list[QuantileEncoding]
    columns: Indices  # the positions of these numbers in Frame.numbers
    fill: Matrix64
    missing_indicators: Indices  # the numbers that have a column for missing values

    @classmethod
    def from_parts(cls, parts: Sequence[NumericEncoding]) -> Self:
        quantiles = [(column, found) for column, part in enumerate(parts) if (found := quantile_part(part)) is not None]
        return cls(
            parts=[part for _, part in quantiles],
            columns=np.array([column for column, _ in quantiles], dtype=np.intp),
            fill=one_row(part.fill for _, part in quantiles),
            missing_indicators=np.array(
                [index for index, (_, part) in enumerate(quantiles) if part.missing], dtype=np.intp
            ),
        )

    @cached_property
    def curves(self) -> list[Callable[[float], float]]:
        return [part.curve for part in self.parts]

    def encode(self, numbers: Vector, x: Matrix) -> int:
        """Write z and the missing-value indicators into the first columns of x. Returns their number."""
        count = len(self.parts)
        end = count + len(self.missing_indicators)
        values = numbers if count == numbers.shape[1] else numbers.take(self.columns, axis=1)
        missing = np.isnan(values)
        if end > count:
            x[:, count:end] = missing.take(self.missing_indicators, axis=1)
        if any_true(missing):  # requests may have them in columns that were complete in training
            values = np.where(missing, self.fill, values)
        if len(x) <= FEW_INTERPOLATED:
            for index, row in enumerate(values.tolist()):
                x[index, :count] = [curve(value) for curve, value in zip(self.curves, row, strict=True)]
        else:
            for column, part in enumerate(self.parts):
                x[:, column] = np.interp(values[:, column], *part.points)
        return end


def quantile_part(part: NumericEncoding) -> QuantileEncoding | None:
    """The encoding of a quantile-encoded number, or of the days of a date; None for all other columns."""
    if isinstance(part, DateEncoding):
        return part.days
    return part if isinstance(part, QuantileEncoding) else None


@dataclass(frozen=True)
class CategoryLookup:
    """Looks up all categories of a few rows: column c of row r is values[first[c] + codes[r, of[c]] * stride[c]].

    The look-up takes a few operations for any number of categories. For many rows, one look-up per category is faster.
    """

    of: Indices
    stride: Indices
    first: Indices
    values: Matrix  # (sum of all tables' sizes,)

    @classmethod
    def from_parts(cls, order: Sequence[tuple[int, LevelColumns]]) -> Self:
        """order: the categories with their column numbers in the codes, in the order of the matrix."""
        of: list[int] = []
        stride: list[int] = []
        first: list[int] = []
        start = 0
        for column, part in order:
            table = part.table
            of += [column] * part.width
            stride += [part.width] * part.width
            first += [start + 2 * part.width + index for index in range(part.width)]  # MISSING and UNSEEN come first
            start += table.size
        tables = [np.roll(part.table, 2, axis=0).ravel() for _, part in order]
        values = np.concatenate(tables) if tables else np.empty(0, dtype=np.float32)
        return cls(np.array(of), np.array(stride), np.array(first), values)

    def __call__(self, codes: Codes) -> Matrix:
        places = codes.take(self.of, axis=1)
        places *= self.stride
        places += self.first
        return self.values.take(places)
