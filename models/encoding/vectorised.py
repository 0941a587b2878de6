"""The fitted parts of an encoder side by side: a row costs a few array operations, not a few for each column."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np

from models.encoding.parts import Codes, Indices, Levels, Matrix, Matrix64, Number, NumberPart, Quantile, Vector
from models.frame import any_of

CLIP = 100.0  # standard deviations: keeps the network finite for 1e300, far outside of anything seen
FEW_RANKED = 4  # rows; up to here Python's own search is quicker than np.interp


@dataclass(frozen=True)
class Arrays:
    """The numbers of an encoder side by side, so that a row costs a few operations and not a few for each column."""

    columns: Indices  # which columns of Frame.numbers are numbers
    lowest: Matrix64  # where scaling would leave -CLIP..CLIP; cut there first, no arithmetic overflows
    highest: Matrix64
    mean: Matrix64
    inverse_deviation: Matrix64
    fill: Matrix64
    third: Matrix64  # of the smooth clip: 1/3, or 0 for numbers that are clipped hard
    gaps: Indices  # which of the numbers have a column of their gaps
    of_bin: Indices  # for each bin, which of the numbers it belongs to
    low: Matrix64
    high: Matrix64
    inverse_width: Matrix64

    @classmethod
    def of(cls, parts: Sequence[NumberPart]) -> Self:
        numbers = [(column, part) for column, part in enumerate(parts) if isinstance(part, Number)]
        bins = [(index, low, high) for index, (_, part) in enumerate(numbers) for low, high in pairwise(part.edges)]
        ends = [clip_range(part.mean, part.deviation) for _, part in numbers]
        return cls(
            columns=np.array([column for column, _ in numbers], dtype=np.intp),
            lowest=one_row(low for low, _ in ends),
            highest=one_row(high for _, high in ends),
            mean=one_row(part.mean for _, part in numbers),
            inverse_deviation=one_row(1.0 / part.deviation for _, part in numbers),
            fill=one_row(part.fill for _, part in numbers),
            third=one_row(1 / 3 if part.edges else 0.0 for _, part in numbers),
            gaps=np.array([index for index, (_, part) in enumerate(numbers) if part.missing], dtype=np.intp),
            of_bin=np.array([index for index, _, _ in bins], dtype=np.intp),
            low=one_row(low for _, low, _ in bins),
            high=one_row(high for _, _, high in bins),
            inverse_width=one_row(1.0 / (high - low) for _, low, high in bins),
        )


def one_row(values: Iterable[float]) -> Matrix64:
    """(1, columns): with a single row NumPy need not broadcast, which is half of such an operation's cost."""
    return np.array(list(values), dtype=np.float64).reshape(1, -1)


def clip_range(mean: float, deviation: float) -> tuple[float, float]:
    """The numbers whose (x - mean) / deviation lies within -CLIP..CLIP, as far as it can be computed."""
    largest, reach, inverse = sys.float_info.max, CLIP * deviation, 1.0 / deviation
    low, high = max(mean - reach, max(mean, 0.0) - largest), min(mean + reach, min(mean, 0.0) + largest)
    while (high - mean) * inverse > CLIP:  # by the last bit
        high = math.nextafter(high, mean)
    while (low - mean) * inverse < -CLIP:
        low = math.nextafter(low, mean)
    return low, high


@dataclass(frozen=True)
class Ranks:
    """The numbers of an encoder that are told by rank, side by side."""

    parts: list[Quantile]
    columns: Indices  # which columns of Frame.numbers they are
    fill: Matrix64
    gaps: Indices  # which of them have a column of their gaps

    @classmethod
    def of(cls, parts: Sequence[NumberPart]) -> Self:
        ranked = [(column, part) for column, part in enumerate(parts) if isinstance(part, Quantile)]
        return cls(
            parts=[part for _, part in ranked],
            columns=np.array([column for column, _ in ranked], dtype=np.intp),
            fill=one_row(part.fill for _, part in ranked),
            gaps=np.array([index for index, (_, part) in enumerate(ranked) if part.missing], dtype=np.intp),
        )

    @cached_property
    def curves(self) -> list[Callable[[float], float]]:
        return [part.curve for part in self.parts]

    def encode(self, numbers: Vector, x: Matrix) -> int:
        """Write z and gaps to the first columns of x; how many that are."""
        count = len(self.parts)
        end = count + len(self.gaps)
        values = numbers if count == numbers.shape[1] else numbers.take(self.columns, axis=1)
        gaps = np.isnan(values)
        if end > count:
            x[:, count:end] = gaps.take(self.gaps, axis=1)
        if any_of(gaps):  # perhaps where training had none
            values = np.where(gaps, self.fill, values)
        if len(x) <= FEW_RANKED:
            for place, row in enumerate(values.tolist()):
                x[place, :count] = [curve(value) for curve, value in zip(self.curves, row, strict=True)]
        else:
            for column, part in enumerate(self.parts):
                x[:, column] = np.interp(values[:, column], *part.points)
        return end


@dataclass(frozen=True)
class Lookup:
    """The columns of all categories, for few rows: column c of row r is values[first[c] + codes[r, of[c]] * stride[c]].

    A handful of operations, whatever the number of categories; for many rows it costs more than a look-up for each.
    """

    of: Indices
    stride: Indices
    first: Indices
    values: Matrix  # (everything,)

    @classmethod
    def of_parts(cls, order: Sequence[tuple[int, Levels]]) -> Self:
        """order: the categories with their column of the codes, as they stand in the matrix."""
        of: list[int] = []
        stride: list[int] = []
        first: list[int] = []
        start = 0
        for column, part in order:
            table = part.table
            of += [column] * part.width
            stride += [part.width] * part.width
            first += [start + 2 * part.width + place for place in range(part.width)]  # MISSING and UNSEEN come first
            start += table.size
        tables = [np.roll(part.table, 2, axis=0).ravel() for _, part in order]
        values = np.concatenate(tables) if tables else np.empty(0, dtype=np.float32)
        return cls(np.array(of), np.array(stride), np.array(first), values)

    def __call__(self, codes: Codes) -> Matrix:
        places = codes.take(self.of, axis=1)
        places *= self.stride
        places += self.first
        return self.values.take(places)
