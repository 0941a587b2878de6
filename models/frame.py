"""Checked rows as two matrices that the encoder understands."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.feature import Feature

FEW_ROWS = 16  # up to here NumPy's fixed costs count for more than what it does
Row = Mapping[str, Any]
FloatMatrix = npt.NDArray[np.float64]
CodeMatrix = npt.NDArray[np.int64]


class Frame(NamedTuple):
    """Checked rows as two matrices, columns in the order of the schema.

    numbers: (rows, numbers + booleans + dates) float64, NaN where missing. Dates are seconds since 1970.
    codes: (rows, categories) int64, the position or bucket of a level, `UNSEEN` or `MISSING`.
    """

    numbers: FloatMatrix
    codes: CodeMatrix

    def take(self, rows: npt.NDArray[np.intp] | slice) -> "Frame":
        return Frame(self.numbers[rows], self.codes[rows])


def picker(features: Sequence[Feature]) -> Callable[[Row], Sequence[Any]]:
    """A getter of several values of a row at once, None where one is absent. Without gaps it runs at C speed."""
    names = [feature.name for feature in features]
    if len(names) > 1 and not any(feature.nullable for feature in features):
        return itemgetter(*names)  # of a single name it would give no sequence
    return lambda row: [*map(row.get, names)]


def any_of(mask: npt.NDArray[np.bool_]) -> bool:
    """mask.any(), at half of its cost for a small mask."""
    return b"\1" in mask.tobytes()
