"""Counts rows and predictions by the cells of a version's reference: bins, levels and missing values.

The counts are one vector of integers, so that the counts of several workers and periods add up exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.drift.reference import CategoryReference, Counts, DriftReference, NumberReference, Vector, predicted_numbers
from models.feature import MISSING
from models.frame import Frame
from models.outputs import Outputs
from models.schema import FeatureSchema
from models.tabular_model import SCALE, TabularModel

ANSWERED, COUNTED, ESTIMATED, ESTIMATE = range(4)  # positions: rows answered, counted, estimated; sum of estimates
HEAD = 4
UNIT = 2**20  # the integer for an estimate of 1
ESTIMATED_ROWS = 8  # for a regression, one row in 8 gets an estimate, because it costs as much as the prediction
MAX_ESTIMATE = 1000.0  # as a multiple of the reference's estimate; sums of larger values could overflow


class NumberCells:
    """The cells of a numeric column: bins, missing values, and values outside the range seen, which a bin also
    counts."""

    def __init__(self, reference: NumberReference) -> None:
        self.size = len(reference.cells)
        self.width = self.size + 1
        self._bounds = reference.bounds
        self._low = -np.inf if reference.low is None else reference.low
        self._high = np.inf if reference.high is None else reference.high

    def count(self, values: npt.NDArray[Any]) -> Counts:
        missing = np.isnan(values)
        cells = np.searchsorted(self._bounds, values)
        cells[missing] = self.size - 1
        counts = np.bincount(cells, minlength=self.width)
        counts[-1] = np.count_nonzero((values < self._low) | (values > self._high))
        return counts


class CategoryCells:
    """The cells of a categorical column: listed levels, other levels, unseen levels and missing values."""

    def __init__(self, reference: CategoryReference) -> None:
        self.size = self.width = len(reference.cells)
        other, unseen, missing = range(self.size - 3, self.size)
        last = max(reference.codes, default=-1)
        self._cells = np.full(last + 4, other)  # by code from MISSING on; the last is for higher codes
        self._cells[[0, 1]] = missing, unseen
        self._cells[np.array(reference.codes, dtype=np.int64) - MISSING] = range(len(reference.codes))

    def count(self, codes: npt.NDArray[Any]) -> Counts:
        cells = self._cells[np.minimum(codes.astype(np.int64) - MISSING, len(self._cells) - 1)]
        return np.bincount(cells, minlength=self.width)


class CountedColumn(NamedTuple):
    """The counts of one column: rows by cell and, for numbers, the rows outside the range seen."""

    cells: Counts
    outside: int


@dataclass(frozen=True)
class DriftCounts:
    """The counts of a version's rows, by column."""

    answered: int
    counted: int
    columns: Sequence[CountedColumn]
    prediction: CountedColumn | None
    estimated: int
    estimate: float  # the mean


class DriftCounter:
    """Turns rows of a model into a vector of `width` integers, and sums of such vectors into counts by column."""

    def __init__(self, schema: FeatureSchema, reference: DriftReference, model: TabularModel | None = None) -> None:
        """model: estimates the errors of a regression; without it they are not estimated."""
        self._schema = schema
        self._columns = [make_cells(column) for column in reference.columns]
        self._prediction = None if reference.prediction is None else make_cells(reference.prediction)
        self._estimate = reference.estimate
        self._until_estimated = 0  # rows until the next estimate
        self._scaled = None if model is None or model.scaled_engine is None else model.with_scale
        parts = [*self._columns, *([self._prediction] if self._prediction else [])]
        self.width = HEAD + sum(part.width for part in parts)

    def count(self, frame: Frame, outputs: Outputs | None = None, answered: int = 0) -> Counts:
        """The vector (width,) of these rows. outputs: required if the reference has predictions. answered: the number
        of answered rows that these rows represent."""
        rows = len(frame.numbers)
        columns = [*frame.numbers.T, *frame.codes.T]
        counted = [cells.count(column) for cells, column in zip(self._columns, columns, strict=True)]
        if self._prediction is not None:
            assert outputs is not None
            counted.append(self._prediction.count(predicted_numbers(self._schema, outputs)))
        estimates = self._estimates(frame, outputs)
        total = 0 if estimates is None else int(np.rint(estimates * UNIT).sum())
        head = np.array([answered, rows, 0 if estimates is None else len(estimates), total], dtype=np.int64)
        return np.concatenate([head, *counted])

    def _estimates(self, frame: Frame, outputs: Outputs | None) -> Vector | None:
        """The probability of each predicted class, or the expected errors of some rows relative to the reference's
        estimate."""
        if self._estimate is None or outputs is None or not len(outputs):
            return None
        if self._estimate.metric == "accuracy":
            return np.asarray(outputs.primary.max(axis=1), dtype=np.float64)
        if self._scaled is None or not self._estimate.value > 0:
            return None
        scales = outputs.extras.get(SCALE)
        if scales is None:
            rows = slice(self._until_estimated, None, ESTIMATED_ROWS)
            self._until_estimated = (self._until_estimated - len(outputs)) % ESTIMATED_ROWS
            if not len(frame.numbers[rows]):
                return None
            scales = self._scaled.predict(frame.take(rows)).extras[SCALE]
        relative: Vector = np.nan_to_num(np.minimum(scales / self._estimate.value, MAX_ESTIMATE), nan=MAX_ESTIMATE)
        return relative

    def read(self, vector: Counts) -> DriftCounts:
        """Convert a sum of vectors to counts by column. Negative counts, from damaged data, become 0."""
        vector = np.maximum(vector, 0)
        columns, start = [], HEAD
        for part in [*self._columns, *([self._prediction] if self._prediction else [])]:
            outside = int(vector[start + part.size]) if part.width > part.size else 0
            columns.append(CountedColumn(vector[start : start + part.size], outside))
            start += part.width
        estimated = int(vector[ESTIMATED])
        mean = float(vector[ESTIMATE]) / UNIT / max(estimated, 1)
        if self._estimate is not None and self._estimate.metric == "mae":
            mean *= self._estimate.value
        prediction = columns.pop() if self._prediction else None
        return DriftCounts(int(vector[ANSWERED]), int(vector[COUNTED]), columns, prediction, estimated, mean)


def make_cells(column: NumberReference | CategoryReference) -> NumberCells | CategoryCells:
    return NumberCells(column) if isinstance(column, NumberReference) else CategoryCells(column)
