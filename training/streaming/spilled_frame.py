"""The valid rows of a large table, read from a temporary file column by column or block by block."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from models.feature import LevelCodes
from models.frame import CodeVector, FloatVector, Frame
from models.schema import FeatureSchema
from training.streaming.spilled_columns import SpilledColumns, with_missing

BLOCK_ROWS = 65_536
Indices = npt.NDArray[np.intp]


def open_frame(schema: FeatureSchema, columns: Mapping[str, npt.NDArray[Any]], rows: int) -> "Frame | SpilledFrame":
    """The rows of a data set, in memory, or on disk for a large table."""
    if isinstance(columns, SpilledColumns):
        return SpilledFrame(schema, columns, rows)
    return schema.frames.from_columns(columns)


class SpilledFrame:
    """A `Frame` on disk, or some of its rows."""

    def __init__(self, schema: FeatureSchema, columns: SpilledColumns, rows: int, taken: Indices | None = None) -> None:
        self._schema, self._columns, self._rows, self._taken = schema, columns, rows, taken
        self._tables = [
            _code_table(columns.column(feature.name).levels, known)
            for feature, known in zip(schema.categorical, schema.frames.codes, strict=True)
        ]

    @property
    def rows(self) -> int:
        return self._rows if self._taken is None else len(self._taken)

    def take(self, rows: Indices) -> "SpilledFrame":
        """Select rows, which are not read yet."""
        taken = rows if self._taken is None else self._taken[rows]
        return SpilledFrame(self._schema, self._columns, self._rows, taken)

    def number_columns(self) -> Iterator[FloatVector]:
        for feature in self._schema.numeric:
            values = self._columns.column(feature.name).stored.read()
            yield values if self._taken is None else values[self._taken]

    def code_columns(self) -> Iterator[CodeVector]:
        for feature, table in zip(self._schema.categorical, self._tables, strict=True):
            positions = self._columns.column(feature.name).stored.read()
            yield table[positions if self._taken is None else positions[self._taken]]

    def load(self) -> Frame:
        """The rows in memory."""
        numbers = np.empty((self.rows, len(self._schema.numeric)))
        for index, column in enumerate(self.number_columns()):
            numbers[:, index] = column
        codes = np.empty((self.rows, len(self._schema.categorical)), np.int64)
        for index, code_column in enumerate(self.code_columns()):
            codes[:, index] = code_column
        return Frame(numbers, codes)

    def blocks(self) -> Iterator[Frame]:
        """All rows of the table, in order. The last blocks are not much smaller than the others."""
        assert self._taken is None
        count = max(1, self._rows // BLOCK_ROWS)
        bounds = np.linspace(0, self._rows, count + 1).astype(int).tolist()
        for start, stop in pairwise(bounds):
            numbers = [self._columns.column(f.name).stored.read(start, stop) for f in self._schema.numeric]
            codes = [
                table[self._columns.column(feature.name).stored.read(start, stop)]
                for feature, table in zip(self._schema.categorical, self._tables, strict=True)
            ]
            yield Frame(_matrix(numbers, stop - start, np.float64), _matrix(codes, stop - start, np.int64))


def _code_table(levels: npt.NDArray[Any] | None, known: LevelCodes) -> CodeVector:
    """The code of each level, and at the end the code of a missing value."""
    assert levels is not None
    return np.array([known[level] for level in with_missing(levels)], np.int64)


def _matrix(columns: list[npt.NDArray[Any]], rows: int, dtype: type) -> npt.NDArray[Any]:
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0), dtype)
