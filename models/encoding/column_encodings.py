"""The encodings of a column: each turns one column of the table into one or more columns of the network's input."""

import math
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from statistics import NormalDist
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.encoding.isolated import common_range
from models.encoding.level_means import LevelMeans
from models.feature import MISSING, UNSEEN, Feature

DAY, WEEK, YEAR = 86_400.0, 604_800.0, 31_556_952.0  # seconds; a Gregorian year on average
MIN_SCALE = 1e-305  # the inverse of a smaller scale can be infinite
MAX_KNOT = 1e300  # larger knots are clipped: the distance between two knots must not overflow
MAX_KNOTS, MAX_TOTAL_KNOTS = 1024, 65_536  # limits for one column and for all columns
MONDAY = 4 * DAY  # 1970-01-05 was the first Monday
ONE_HOT_LEVELS = 8
MAX_Z = NormalDist().inv_cdf(0.999)  # z of the first and the last training row is clipped to this value
MIN_DEVIATION = 0.1  # minimum deviation of z: otherwise the only outlier in a constant column would become huge
MIN_LEVEL_ROWS = 10  # levels with fewer training rows form one group
Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Matrix64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]


class ColumnEncoding(BaseModel):
    """The fitted encoding of one column of the table. `kind` names the class in `encoder.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str


class NumberEncoding(ColumnEncoding):
    """A scaled number, (x - mean) / deviation; the median replaces a missing number. With edges there is also a column
    for each bin.

    The column of a bin, for edges e_0 < e_1 < ..., rises from 0 at e_b to 1 at e_b+1 and is flat
    elsewhere (piecewise linear encoding, Gorishniy et al. 2022, arXiv 2203.05556), so the first layer can change its
    slope at every edge. The scaled number is then clipped smoothly, z / sqrt(1 + (z/3)^2) (Holzmüller et al. 2024).
    Isolated values are clipped to `low` or `high` before anything else.
    """

    kind: Literal["number"] = "number"
    mean: float
    deviation: float
    fill: float
    missing: bool  # whether a column of 0 and 1 marks missing values
    edges: list[float] = []
    low: float | None = None  # None if the training set has no isolated value at this end
    high: float | None = None

    @classmethod
    def fit(cls, name: str, values: Vector, bins: int) -> Self:
        """Fit the encoding. values: (rows,) of the training set, NaN if missing. bins: the maximum number, 0 for
        none."""
        known = values[~np.isnan(values)]
        low, high = clip_bounds(known)
        known = np.clip(known, low, high)
        mean, deviation = stable_moments(known)
        edges: list[float] = []
        if bins and known.size:
            edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1), method="nearest")).tolist()
            narrowest = max(1e-12 * deviation, MIN_SCALE)
            edges = [low for low, high in pairwise([*edges, math.inf]) if high - low > narrowest]
            if not math.isfinite(edges[-1] - edges[0]):
                edges = []
        return cls(
            name=name,
            mean=mean,
            deviation=deviation,
            fill=median_value(known),
            missing=bool(known.size < values.size),
            edges=edges if len(edges) > 2 else [],  # a single bin adds nothing to the scaled number
            low=low,
            high=high,
        )


class QuantileEncoding(ColumnEncoding):
    """A quantile-encoded number: linear between the points (knot, z), flat outside. The median replaces a missing
    number.

    The rank of a distinct training value is the mean of its rank among all rows and its rank among the distinct values,
    so neither a value that fills most rows nor a long tail takes up all of the scale. z is the quantile of that rank in
    a normal distribution, divided by the deviation of z over the training rows.
    """

    kind: Literal["quantile"] = "quantile"
    knots: Annotated[list[float], Field(min_length=1)]  # increasing
    z: list[float]
    fill: float
    missing: bool

    @model_validator(mode="after")
    def _check_points(self) -> Self:
        if len(self.z) != len(self.knots) or any(high <= low for low, high in pairwise(self.knots)):
            raise ValueError("knots must increase, and each knot must have a z")
        return self

    @classmethod
    def fit(cls, name: str, values: Vector, max_knots: int = MAX_KNOTS) -> Self:
        """Fit the curve. values: (rows,) of the training set, NaN if missing. max_knots: the maximum number of
        knots."""
        known = np.clip(values[~np.isnan(values)], -MAX_KNOT, MAX_KNOT)
        knots, counts = np.unique(known if known.size else np.zeros(1), return_counts=True)
        knots, counts = separate_knots(knots, counts)
        of_rows = (np.cumsum(counts) - counts / 2) / counts.sum()
        of_values = (np.arange(len(knots)) + 0.5) / len(knots)
        rank = (of_rows + of_values) / 2
        if len(knots) > max_knots:
            selected = np.unique(np.searchsorted(rank, np.linspace(0, 1, max_knots)).clip(0, len(knots) - 1))
            knots, rank = knots[selected], rank[selected]
        z = np.array([*map(NormalDist().inv_cdf, rank.tolist())]).clip(-MAX_Z, MAX_Z)
        spread = float(np.interp(known, knots, z).std()) if known.size else 0.0
        return cls(
            name=name,
            knots=knots.tolist(),
            z=(z / max(spread, MIN_DEVIATION)).round(6).tolist(),
            fill=median_value(known),
            missing=bool(known.size < values.size),
        )

    @cached_property
    def curve(self) -> Callable[[float], float]:
        """The function from a number to its z. For few numbers it takes a quarter of the time of np.interp."""
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


class RawEncoding(ColumnEncoding):
    """A number unchanged, or a boolean as 0 or 1, for an imported network, which scales its inputs itself. It is never
    missing.

    The constants are those of a `NumberEncoding` that changes nothing.
    """

    kind: Literal["raw"] = "raw"
    mean: ClassVar[float] = 0.0
    deviation: ClassVar[float] = 1.0
    fill: ClassVar[float] = 0.0
    missing: ClassVar[bool] = False
    edges: ClassVar[tuple[float, ...]] = ()


class BooleanEncoding(ColumnEncoding):
    """A boolean: 1 and -1, and 0 if missing."""

    kind: Literal["flag"] = "flag"

    def encode(self, values: Vector) -> list[Vector]:
        return [np.where(np.isnan(values), 0.0, 2.0 * values - 1.0)]


class DateEncoding(ColumnEncoding):
    """A date or time: its position between the first and the last training time, and in the year, the week and the day.

    days: the encoding of the time as a quantile-encoded number, if single days matter.
    """

    kind: Literal["date"] = "date"
    first: float
    last: float
    fill: float
    periods: list[float]  # seconds; only periods that the training set covers at least once
    missing: bool
    days: QuantileEncoding | None = None

    @classmethod
    def fit(cls, name: str, values: Vector, max_day_knots: int = 0) -> Self:
        """values: (rows,) of the training set, NaN if missing. max_day_knots: the maximum number of knots of `days`, 0
        for no `days`."""
        days = QuantileEncoding.fit(name, values, max_day_knots) if max_day_knots else None
        known = values[~np.isnan(values)]
        known = np.clip(known, *clip_bounds(known))
        first, last = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        with_times = bool(np.any(known % DAY != 0))
        periods = [YEAR] * (last - first >= YEAR) + [WEEK] * (last - first >= WEEK) + [DAY] * with_times
        return cls(
            name=name,
            first=first,
            last=last,
            fill=median_value(known),
            periods=periods,
            missing=bool(known.size < values.size),
            days=None if days is None else days.model_copy(update={"missing": False}),
        )

    def encode(self, values: Vector) -> list[Vector]:
        missing = np.isnan(values)
        filled = np.where(missing, self.fill, values)
        span = max(self.last - self.first, 1.0)
        columns = [2.0 * (np.clip(filled, self.first, self.last) - self.first) / span - 1.0]
        for period in self.periods:
            angle = 2 * math.pi * ((filled - MONDAY) % period) / period
            columns += [np.sin(angle), np.cos(angle)]
        return [*columns, missing.astype(np.float64)] if self.missing else columns


class CategoryEncoding(ColumnEncoding):
    """A category: its levels form groups, and the groups become columns.

    groups: the group of each code (position or bucket), -1 for a code that no training row has. A few groups become
    one-hot columns (two groups become one column of 1 and -1; an unseen level becomes zeros). Many groups become one
    column of group numbers, which the network embeds with a table of `size + 1` rows; the last row is for unseen
    levels. means: further columns with the mean of the target of each level.
    """

    kind: Literal["levels"] = "levels"
    groups: list[int]
    missing: int  # the group of missing cells, -1 if there were none in training
    rare: int  # the group of rare and unseen levels, -1 if no level is rare
    size: int  # the number of groups
    means: LevelMeans | None = None

    @model_validator(mode="after")
    def _check_means(self) -> Self:
        if self.means is not None and self.means.count != self.count:
            raise ValueError("there must be a mean for each level")
        return self

    @property
    def count(self) -> int:
        """The number of levels."""
        return len(self.groups)

    @classmethod
    def fit(cls, feature: Feature, codes: Codes) -> Self:
        """Fit the groups. With more than ONE_HOT_LEVELS levels, those with fewer than MIN_LEVEL_ROWS rows share a
        group."""
        count = feature.levels
        rows = np.bincount(codes[codes >= 0], minlength=count)
        frequent = rows >= (MIN_LEVEL_ROWS if count > ONE_HOT_LEVELS else 1)
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
        """The width of the embedding."""
        return min(16, 2 + math.isqrt(self.size))

    @cached_property
    def table(self) -> Matrix:
        """(codes + 2, width): the columns of each code; MISSING = -2 and UNSEEN = -1 are the last two rows."""
        assert (MISSING, UNSEEN) == (-2, -1)
        group = np.array([*self.groups, self.missing, self.rare])
        if self.embedded:
            return np.where(group < 0, self.size, group).astype(np.float32)[:, None]
        one_hot = np.eye(self.size + 1, self.size, dtype=np.float32)[group]  # row -1 is zeros
        return np.asarray(one_hot[:, :1] - one_hot[:, 1:]) if self.size == 2 else np.asarray(one_hot)


class CodeEncoding(ColumnEncoding):
    """A category as the code of its level, for the embedding tables of an imported network. It is never missing.

    An unseen level has the code `count`.
    """

    kind: Literal["code"] = "code"
    count: int  # the number of levels

    width: ClassVar[int] = 1
    embedded: ClassVar[bool] = True

    @cached_property
    def table(self) -> Matrix:
        """(codes + 2, 1): the column of each code, in the same order as in `CategoryEncoding.table`."""
        return np.array([*range(self.count), self.count, self.count], dtype=np.float32)[:, None]


NumericEncoding = Annotated[
    NumberEncoding | QuantileEncoding | RawEncoding | BooleanEncoding | DateEncoding, Field(discriminator="kind")
]
LevelEncoding = Annotated[CategoryEncoding | CodeEncoding, Field(discriminator="kind")]
LevelColumns = CategoryEncoding | CodeEncoding | LevelMeans  # columns of the matrix that are looked up by code


def clip_bounds(values: Vector) -> tuple[float | None, float | None]:
    """The bounds to which isolated values are clipped; None at an end without isolated values."""
    if not values.size:
        return None, None
    common = common_range(values)
    low = common.low - common.margin if values.min() < common.low else None
    high = common.high + common.margin if values.max() > common.high else None
    return low, high


def stable_moments(values: Vector) -> tuple[float, float]:
    """Mean and standard deviation, even of numbers whose squares overflow; the deviation is never 0."""
    if not values.size:
        return 0.0, 1.0
    largest = float(np.abs(values).max()) or 1.0
    scaled = values / largest
    deviation = float(scaled.std()) * largest
    return float(scaled.mean()) * largest, deviation if MIN_SCALE < deviation < math.inf else 1.0


def separate_knots(knots: Vector, counts: Codes) -> tuple[Vector, Codes]:
    """Increasing knots, without those that are so close to the previous knot that the slope between the two would
    overflow."""
    distinct = np.append(True, np.diff(knots) > MIN_SCALE)
    return knots[distinct], np.add.reduceat(counts, np.flatnonzero(distinct))


def median_value(values: Vector) -> float:
    """The median; 0 without values. It is always one of the values, because the mean of two may overflow."""
    return float(np.quantile(values, 0.5, method="nearest")) if values.size else 0.0
