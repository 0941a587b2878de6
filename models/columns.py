"""Whole columns of a table, and access to their rows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from models.date_parsing import moment_text
from models.frame import Row

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


class Column(NamedTuple):
    """One column of n rows.

    values: (n,) numbers, booleans, `datetime64`, or JSON values as objects (text, numbers, booleans, None).
    With `codes`: (distinct,) the values to which the codes refer. NaN and NaT mean a missing value.
    A float32 counts as the float64 that is equal to it: 0.1 becomes 0.10000000149011612.
    missing: (n,) true in rows without a value, or None.
    codes: (n,) the position of each row's value; any valid position if the value is missing.
    """

    values: Array
    missing: Mask | None = None
    codes: npt.NDArray[np.integer[Any]] | None = None

    def item(self, row: int) -> Any:
        """The JSON value of a row; a date is ISO 8601 text."""
        if (self.missing is not None and self.missing[row]) or not len(self.values):
            return None
        value = self.values[row if self.codes is None else self.codes[row]]
        if isinstance(value, np.datetime64):
            return None if np.isnat(value) else moment_text(value)
        if not isinstance(value, np.generic):
            return value
        plain = value.item()
        return None if isinstance(plain, float) and math.isnan(plain) else plain


Columns = Mapping[str, Column]
UNREAD = Column(np.empty(0))  # a column whose cells are not needed


class ColumnRows(Sequence[Row]):
    """The rows of columns; each row is created when it is accessed."""

    def __init__(self, columns: Columns, count: int, valid: Sequence[int] | None = None) -> None:
        self._columns = columns
        self._count = count if valid is None else len(valid)
        self._valid = valid

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> Row: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Row]: ...
    def __getitem__(self, row: int | slice) -> Row | Sequence[Row]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(self._count))]
        if not 0 <= row < self._count:
            raise IndexError(row)
        position = row if self._valid is None else self._valid[row]
        return {name: column.item(position) for name, column in self._columns.items()}
