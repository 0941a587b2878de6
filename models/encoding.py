"""From checked rows to the matrix a network reads: numbers scaled, dates unrolled, categories looked up, gaps filled.

Everything is fitted on the training part alone, kept as `encoder.json`, and applied as a few array operations.
"""

import math
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, zip_longest
from statistics import NormalDist
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.features import MISSING, UNSEEN, Feature, FeatureSchema, Frame, SchemaError, any_of

BINS = 32
MAX_BIN_COLUMNS = 1024
CLIP = 100.0  # standard deviations: keeps the network finite for 1e300, far outside of anything seen
DAY, WEEK, YEAR = 86_400.0, 604_800.0, 31_556_952.0  # seconds; a Gregorian year on average
SMALLEST = 1e-305  # a scale below it is none: its inverse is infinite, or nearly
LARGEST = 1e300  # knots beyond it are drawn in: the distance between two of them must not overflow
MAX_KNOTS, MAX_KNOTS_IN_ALL = 1024, 65_536
MONDAY = 4 * DAY  # 1970-01-05 was the first Monday
ONE_HOT_LEVELS = 8
FEW = 16  # rows; up to here NumPy's fixed costs count for more than what it does
FURTHEST = NormalDist().inv_cdf(0.999)  # a rank at either end of the training rows, in deviations
FEW_RANKED = 4  # rows; up to here Python's own search is quicker than np.interp
LEAST_SPREAD = 0.1  # of the ranks: a column of one value and one outlier must not send the outlier to the moon
RARE = 10  # levels with fewer training rows than this share one group

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Matrix64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]


class Part(BaseModel):
    """How one column of the table becomes columns of the matrix."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str


class Number(Part):
    """A number: (x - mean) / deviation, the median where it is missing, and its place between edges.

    With edges e_0 < e_1 < ... there is a further column for each bin, rising from 0 at e_b to 1 at e_b+1 and flat
    elsewhere (the piecewise linear encoding of Gorishniy et al. 2022, arXiv 2203.05556): a first layer can then bend at
    every edge. The scaled number itself is then clipped smoothly, z / sqrt(1 + (z/3)^2) (Holzmüller et al. 2024).
    """

    kind: Literal["number"] = "number"
    mean: float
    deviation: float
    fill: float
    missing: bool  # whether a column of 0 and 1 tells the gaps
    edges: list[float] = []

    @classmethod
    def fit(cls, name: str, values: Vector, bins: int) -> Self:
        """values: (rows,) of the training part, NaN where missing. bins: how many at most, 0 for none."""
        known = values[~np.isnan(values)]
        mean, deviation = stable_moments(known)
        edges: list[float] = []
        if bins and known.size:
            edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1), method="nearest")).tolist()
            narrowest = max(1e-12 * deviation, SMALLEST)
            edges = [low for low, high in pairwise([*edges, math.inf]) if high - low > narrowest]
            if not math.isfinite(edges[-1] - edges[0]):
                edges = []
        return cls(
            name=name,
            mean=mean,
            deviation=deviation,
            fill=middle(known),
            missing=bool(known.size < values.size),
            edges=edges if len(edges) > 2 else [],  # two edges say no more than the scaled number
        )


class Quantile(Part):
    """A number told by its rank: a line through the points (knot, z), flat outside; the median where it is missing.

    The rank of a distinct training value is half its place among all rows and half its place among the distinct
    values, so that neither a value that fills most rows nor a long tail takes up all of the scale; z is the number with
    that rank in a normal distribution, divided by its deviation over the training rows.
    """

    kind: Literal["quantile"] = "quantile"
    knots: Annotated[list[float], Field(min_length=1)]  # increasing
    z: list[float]
    fill: float
    missing: bool

    @model_validator(mode="after")
    def _is_a_line(self) -> Self:
        if len(self.z) != len(self.knots) or any(high <= low for low, high in pairwise(self.knots)):
            raise ValueError("knots have to increase, and each has its z")
        return self

    @classmethod
    def fit(cls, name: str, values: Vector, most: int = MAX_KNOTS) -> Self:
        """values: (rows,) of the training part, NaN where missing. most: how many knots."""
        known = np.clip(values[~np.isnan(values)], -LARGEST, LARGEST)
        knots, counts = np.unique(known if known.size else np.zeros(1), return_counts=True)
        knots, counts = apart(knots, counts)
        of_rows = (np.cumsum(counts) - counts / 2) / counts.sum()
        of_values = (np.arange(len(knots)) + 0.5) / len(knots)
        rank = (of_rows + of_values) / 2
        if len(knots) > most:
            kept = np.unique(np.searchsorted(rank, np.linspace(0, 1, most)).clip(0, len(knots) - 1))
            knots, rank = knots[kept], rank[kept]
        z = np.array([*map(NormalDist().inv_cdf, rank.tolist())]).clip(-FURTHEST, FURTHEST)
        spread = float(np.interp(known, knots, z).std()) if known.size else 0.0
        return cls(
            name=name,
            knots=knots.tolist(),
            z=(z / max(spread, LEAST_SPREAD)).round(6).tolist(),
            fill=middle(known),
            missing=bool(known.size < values.size),
        )

    @cached_property
    def curve(self) -> Callable[[float], float]:
        """z of one number that is not missing: for few of them a quarter of what np.interp costs."""
        knots, heights, (first, *_, last) = self.knots, self.z, (*self.knots, self.knots[-1])
        lowest, highest = heights[0], heights[-1]
        slopes = [(z - y) / (v - u) for (u, v), (y, z) in zip(pairwise(knots), pairwise(heights), strict=True)]

        def z(x: float) -> float:
            if x <= first:
                return lowest
            if x >= last:
                return highest
            i = bisect_right(knots, x) - 1
            return slopes[i] * (x - knots[i]) + heights[i]

        return z

    @cached_property
    def points(self) -> tuple[Vector, Vector]:
        return np.array(self.knots), np.array(self.z)


class Flag(Part):
    """A boolean: 1 and -1, and 0 where missing."""

    kind: Literal["flag"] = "flag"

    def encode(self, values: Vector) -> list[Vector]:
        return [np.where(np.isnan(values), 0.0, 2.0 * values - 1.0)]


class Date(Part):
    """A moment: where it lies between the first and the last one seen, and where in the year, the week and the day."""

    kind: Literal["date"] = "date"
    first: float
    last: float
    fill: float
    periods: list[float]  # seconds; only cycles that training saw at least once around
    missing: bool

    @classmethod
    def fit(cls, name: str, values: Vector) -> Self:
        known = values[~np.isnan(values)]
        first, last = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        with_times = bool(np.any(known % DAY != 0))
        periods = [YEAR] * (last - first >= YEAR) + [WEEK] * (last - first >= WEEK) + [DAY] * with_times
        return cls(
            name=name,
            first=first,
            last=last,
            fill=middle(known),
            periods=periods,
            missing=bool(known.size < values.size),
        )

    def encode(self, values: Vector) -> list[Vector]:
        gaps = np.isnan(values)
        filled = np.where(gaps, self.fill, values)
        span = max(self.last - self.first, 1.0)
        columns = [2.0 * (np.clip(filled, self.first, self.last) - self.first) / span - 1.0]
        for period in self.periods:
            angle = 2 * math.pi * ((filled - MONDAY) % period) / period
            columns += [np.sin(angle), np.cos(angle)]
        return [*columns, gaps.astype(np.float64)] if self.missing else columns


class Levels(Part):
    """A category: levels of the table fall into groups, groups become columns.

    groups: the group of each code (position or bucket), -1 where the training rows held none of it. Few groups are
    written as columns of 0 and 1 (two groups as one column of 1 and -1, an unknown level as zeros); many as the group's
    number, which the network looks up in a table of `size + 1` rows, the last one for what is unknown.
    """

    kind: Literal["levels"] = "levels"
    groups: list[int]
    missing: int  # the group of a missing cell, -1 where training had none
    rare: int  # the group that rare levels share, and unseen ones join; -1 where no level is rare
    size: int  # how many groups

    @classmethod
    def fit(cls, feature: Feature, codes: Codes) -> Self:
        """Where there are more levels than columns, those with fewer than RARE rows share a group."""
        count = feature.levels
        rows = np.bincount(codes[codes >= 0], minlength=count)
        frequent = rows >= (RARE if count > ONE_HOT_LEVELS else 1)
        size = int(frequent.sum())
        rare = missing = -1
        if (rows[~frequent] > 0).any():
            rare, size = size, size + 1
        groups = np.full(count, rare)
        groups[frequent] = np.arange(int(frequent.sum()))
        if (codes == MISSING).any():
            missing, size = size, size + 1
        return cls(name=feature.name, groups=groups.tolist(), missing=missing, rare=rare, size=size)

    @property
    def embedded(self) -> bool:
        return self.size > ONE_HOT_LEVELS

    @property
    def width(self) -> int:
        return 1 if self.embedded or self.size <= 2 else self.size

    @property
    def dimension(self) -> int:
        """How many numbers the network learns for each group."""
        return min(16, 2 + math.isqrt(self.size))

    @cached_property
    def table(self) -> Matrix:
        """(codes + 2, width): what to write for each code; MISSING = -2 and UNSEEN = -1 are the last two rows."""
        assert (MISSING, UNSEEN) == (-2, -1)
        group = np.array([*self.groups, self.missing, self.rare])
        if self.embedded:
            return np.where(group < 0, self.size, group).astype(np.float32)[:, None]
        one_hot = np.eye(self.size + 1, self.size, dtype=np.float32)[group]  # row -1 is zeros
        return np.asarray(one_hot[:, :1] - one_hot[:, 1:]) if self.size == 2 else np.asarray(one_hot)


class Target(BaseModel):
    """The scale on which a regression learns, and the range its answers are kept in; probabilities need none."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    mean: float = 0.0
    scale: float = 1.0
    low: float | None = None
    high: float | None = None

    @classmethod
    def fit(cls, values: Vector, within: bool = False) -> Self:
        """within: whether no answer is to lie outside of these values."""
        mean, scale = stable_moments(values)
        low, high = (float(values.min()), float(values.max())) if within else (None, None)
        return cls(mean=mean, scale=scale, low=low, high=high)

    def apply(self, values: Vector) -> Vector:
        return (values - self.mean) / self.scale

    @cached_property
    def _steps(self) -> tuple[float, float] | None:
        """Multiply and divide by these around rounding; None for scales at which that would overflow."""
        digits = 7 - math.floor(math.log10(self.scale))
        largest = math.log10(max(self.scale, abs(self.mean)))
        if abs(digits) > 200 or digits + largest > 200:
            return None
        return (10.0**digits, 1.0) if digits >= 0 else (1.0, 10.0**-digits)

    def unscale(self, outputs: npt.NDArray[Any]) -> Vector:
        """(rows, 1) outputs -> the target's unit, rounded to a ten-millionth of its spread: float32 knows no more.

        An output that is not finite stays so, also where answers are kept within a range.
        """
        if outputs.size <= FEW:  # NumPy's fixed costs are higher than Python's for so few
            return np.array([self.unscale_one(output) for output in outputs.ravel().tolist()]).reshape(outputs.shape)
        values: Vector = outputs.astype(np.float64)
        with np.errstate(over="ignore"):
            values *= self.scale
            values += self.mean
        if self._steps is not None:
            finer, coarser = self._steps  # one of them is 1
            if coarser == 1.0:
                values *= finer
                np.rint(values, out=values)
                values /= finer
            else:
                values /= coarser
                np.rint(values, out=values)
                values *= coarser
        if self.low is not None:
            np.clip(values, self.low, self.high, out=values, where=np.isfinite(values))
        return values

    def unscale_one(self, output: float) -> float:
        """The same for one output, by the same operations."""
        value = output * self.scale + self.mean
        if not math.isfinite(value):
            return value
        if self._steps is not None:
            finer, coarser = self._steps
            value = round(value * finer / coarser) * coarser / finer
        if self.low is None or self.high is None or self.low <= value <= self.high:
            return value
        return self.low if value < self.low else self.high


NumberPart = Annotated[Number | Quantile | Flag | Date, Field(discriminator="kind")]


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


class Encoder(BaseModel):
    """The fitted encoding of a whole row. Immutable; `encoder.json` is its JSON.

    Columns of the matrix: numbers told by rank, their gaps; scaled numbers, their gaps, their bins; flags and dates;
    the columns of few levels; last the group numbers of many.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    numbers: list[NumberPart]  # in the order of Frame.numbers
    categories: list[Levels]  # in the order of Frame.codes
    target: Target = Target()

    @classmethod
    def fit(
        cls,
        schema: FeatureSchema,
        frame: Frame,
        target: Vector | None = None,
        bins: int = BINS,
        numbers: Literal["scaled", "quantile"] = "scaled",
    ) -> Self:
        """Learn the encoding from the training rows.

        target: (rows,) for a regression, else None. bins: edges per scaled number at most; fewer where there are few
        rows or so many columns that the first layer would grow out of hand. numbers: how they are told; told by rank,
        they are kept within what was seen, and so are the answers of a regression.
        """
        rows, columns = frame.numbers.shape
        knots = min(MAX_KNOTS, MAX_KNOTS_IN_ALL // max(columns, 1) + 2)
        affordable = min(bins, rows // 20, MAX_BIN_COLUMNS // max(columns, 1))
        parts: list[Part] = []
        for feature, values in zip(schema.numeric, frame.numbers.T, strict=True):
            if feature.kind == "boolean":
                parts.append(Flag(name=feature.name))
            elif feature.kind == "date":
                parts.append(Date.fit(feature.name, values))
            elif numbers == "quantile":
                parts.append(Quantile.fit(feature.name, values, knots))
            else:
                parts.append(Number.fit(feature.name, values, affordable if affordable > 1 else 0))
        levels = [Levels.fit(feature, codes) for feature, codes in zip(schema.categorical, frame.codes.T, strict=True)]
        scale = Target() if target is None else Target.fit(target, within=numbers == "quantile")
        return cls(numbers=cast(list[NumberPart], parts), categories=levels, target=scale)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read `encoder.json`. Raises SchemaError."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise SchemaError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error

    def to_json(self) -> str:
        return self.model_dump_json() + "\n"

    def check(self, schema: FeatureSchema) -> None:
        """Raises SchemaError where the encoder was not fitted to this schema: codes would mean other levels."""
        ours = [(part.name, "number" if part.kind == "quantile" else part.kind) for part in self.numbers]
        kinds = {"number": "number", "boolean": "flag", "date": "date"}
        theirs = [(feature.name, kinds[feature.kind]) for feature in schema.numeric]
        levels = [(part.name, len(part.groups)) for part in self.categories]
        known = [(feature.name, feature.levels) for feature in schema.categorical]
        for fitted, given in zip_longest([*ours, *levels], [*theirs, *known]):
            if fitted != given:
                name = (given or fitted or ("",))[0]
                raise SchemaError(f"feature {name!r} is not as it was when the encoder was fitted")

    @cached_property
    def tables(self) -> list[tuple[int, int]]:
        """For each embedded category its table in the network, (groups + 1, units). They are the last columns."""
        return [(part.size + 1, part.dimension) for part in self.categories if part.embedded]

    @property
    def periodic(self) -> int:
        """How many of the first columns are numbers told by rank, which a network may tell in waves."""
        return len(self._ranks.parts)

    @property
    def width(self) -> int:
        """How many columns `encode` gives."""
        return self._width

    @cached_property
    def _width(self) -> int:
        return self._number_width + sum(part.width for part in self.categories)

    @cached_property
    def _arrays(self) -> Arrays:
        return Arrays.of(self.numbers)

    @cached_property
    def _ranks(self) -> Ranks:
        return Ranks.of(self.numbers)

    @cached_property
    def _number_width(self) -> int:
        arrays = self._arrays
        of_numbers = len(arrays.columns) + len(arrays.gaps) + len(arrays.of_bin)
        of_ranks = len(self._ranks.parts) + len(self._ranks.gaps)
        return of_ranks + of_numbers + sum(len(part.encode(np.zeros(1))) for _, part in self._others)

    @cached_property
    def ordered(self) -> list[tuple[int, Levels]]:
        """The categories with their column of the codes, as they stand in the matrix: embedded ones last."""
        return sorted(enumerate(self.categories), key=lambda entry: entry[1].embedded)

    @cached_property
    def _lookup(self) -> Lookup:
        return Lookup.of_parts(self.ordered)

    @cached_property
    def _others(self) -> list[tuple[int, Flag | Date]]:
        """What is no number and no category, with its column of the numbers."""
        return [(column, part) for column, part in enumerate(self.numbers) if isinstance(part, Flag | Date)]

    def encode(self, frame: Frame) -> Matrix:
        """(rows, ...) checked rows -> (rows, width) float32, always finite."""
        numbers, codes = frame
        x = np.empty((len(numbers), self._width), dtype=np.float32)
        end = self._ranks.encode(numbers, x) if self._ranks.parts else 0
        if self._arrays.columns.size:
            end += self._encode_numbers(numbers, x[:, end:])
        for column, part in self._others:
            for encoded in part.encode(numbers[:, column]):
                x[:, end] = encoded
                end += 1
        if not self.categories:
            return x
        if len(x) <= FEW:
            x[:, end:] = self._lookup(codes)
            return x
        for column, levels in self.ordered:
            x[:, end : end + levels.width] = levels.table[codes[:, column]]
            end += levels.width
        return x

    def _encode_numbers(self, numbers: Vector, x: Matrix) -> int:
        """Write scaled numbers, gaps and bins to the first columns of x; how many that are."""
        arrays = self._arrays
        count = len(arrays.columns)
        end = count + len(arrays.gaps)
        values = numbers if count == numbers.shape[1] else numbers.take(arrays.columns, axis=1)
        gaps = np.isnan(values)
        if end > count:
            x[:, count:end] = gaps.take(arrays.gaps, axis=1)
        if any_of(gaps):  # perhaps where training had none
            values = np.where(gaps, arrays.fill, values)
        z = np.maximum(values, arrays.lowest)
        np.minimum(z, arrays.highest, out=z)
        z -= arrays.mean
        z *= arrays.inverse_deviation
        if arrays.of_bin.size:
            bent = z * arrays.third
            bent *= bent
            bent += 1.0
            z /= np.sqrt(bent, out=bent)
            bins = np.maximum(values.take(arrays.of_bin, axis=1), arrays.low)
            np.minimum(bins, arrays.high, out=bins)
            bins -= arrays.low
            bins *= arrays.inverse_width
            x[:, end : end + len(arrays.of_bin)] = bins
        x[:, :count] = z
        return end + len(arrays.of_bin)


def stable_moments(values: Vector) -> tuple[float, float]:
    """Mean and standard deviation, also of numbers whose squares overflow; a deviation is never 0."""
    if not values.size:
        return 0.0, 1.0
    largest = float(np.abs(values).max()) or 1.0
    scaled = values / largest
    deviation = float(scaled.std()) * largest
    return float(scaled.mean()) * largest, deviation if SMALLEST < deviation < math.inf else 1.0


def apart(knots: Vector, counts: Codes) -> tuple[Vector, Codes]:
    """Increasing knots without those nearer to the one before than a slope between them could be told."""
    kept = np.append(True, np.diff(knots) > SMALLEST)
    return knots[kept], np.add.reduceat(counts, np.flatnonzero(kept))


def middle(values: Vector) -> float:
    """The median, always one of the values, as the mean of two may overflow; 0 where there is none."""
    return float(np.quantile(values, 0.5, method="nearest")) if values.size else 0.0
