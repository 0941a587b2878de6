"""Isolated values: a few cells that are so far from all others in their column that its scale must not depend on them.

Examples are 9999-12-31 among dates of three years, a total below a column of amounts, and 1e9 for "unknown".
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAX_GAP = 2.0  # as a multiple of the range of the other values; a value beyond a wider gap is isolated
MAX_ISOLATED_FRACTION = 0.01  # maximum fraction of isolated values at each end of a column, but at least one value
SENTINEL_GAP = 10.0  # the same for a repeated value at an end, which may be a separate level
MIN_DISTINCT = 4
MARGIN = 0.25  # isolated values are clipped at this fraction of the range beyond the other values

Vector = npt.NDArray[np.float64]


class CommonRange(NamedTuple):
    """The range of a column's values without the isolated values, which are outside of it."""

    low: float
    high: float

    def contains(self, values: Vector) -> npt.NDArray[np.bool_]:
        return (values >= self.low) & (values <= self.high)

    @property
    def margin(self) -> float:
        return MARGIN * (self.high - self.low)


def common_range(values: Vector, max_share: float = MAX_ISOLATED_FRACTION) -> CommonRange:
    """The range of the values that are not isolated. values: (n,), finite, at least one.

    At each end, up to `max_share` of the rows may be isolated, or all rows of one value that less than half of the rows
    have.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < MIN_DISTINCT:
        return CommonRange(float(distinct[0]), float(distinct[-1]))
    high = _common_end(distinct, counts, max_share)
    low = -_common_end(-distinct[::-1], counts[::-1], max_share)
    return CommonRange(float(low), float(high))


def _common_end(distinct: Vector, counts: npt.NDArray[np.intp], max_share: float) -> float:
    """The highest value that is not isolated. distinct: (d,) increasing. counts: (d,) the number of rows with each
    value."""
    rows = int(counts.sum())
    allowed = max(1, int(max_share * rows))
    below = np.cumsum(counts)  # (d,) rows up to each value
    start = _inner_start(below, allowed)
    max_gap = np.where(rows - below[:-1] <= allowed, MAX_GAP, np.inf)  # (d - 1,) above each value but the last
    if allowed < counts[-1] < rows / 2:
        max_gap[-1] = SENTINEL_GAP
    with np.errstate(over="ignore", invalid="ignore"):
        gaps, ranges = np.diff(distinct), distinct[:-1] - distinct[start]
        isolated = (gaps > max_gap * ranges) & (ranges > 0)
    return float(distinct[np.argmax(isolated)] if isolated.any() else distinct[-1])


def _inner_start(below: npt.NDArray[np.intp], allowed: int) -> int:
    """The position of the lowest value that cannot be isolated."""
    return min(int(np.searchsorted(below, allowed, side="right")), len(below) - 2)
