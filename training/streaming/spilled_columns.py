"""Stores the inferred columns of a large table in a temporary file; each is read when it is needed."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.streaming.spill_file import SpillFile, StoredArray


class SpilledColumn(NamedTuple):
    """(rows,) float64, or the positions of levels, -1 if missing. levels: None for a numeric column."""

    stored: StoredArray
    levels: npt.NDArray[Any] | None

    def read(self) -> npt.NDArray[Any]:
        """(rows,): the values, in the form of `Dataset.columns`."""
        values = self.stored.read()
        return values if self.levels is None else with_missing(self.levels)[values]


class SpilledColumns(Mapping[str, npt.NDArray[Any]]):
    """Columns like `Dataset.columns`: each look-up reads a column from the file."""

    def __init__(self) -> None:
        self._file = SpillFile()
        self._columns: dict[str, SpilledColumn] = {}

    def add(self, name: str, values: npt.NDArray[Any]) -> None:
        """Store a column. Raises OSError if the disk is full."""
        levels = None
        if values.dtype == object:
            values, levels = pd.factorize(values)
            values = values.astype(np.int32)
        self._columns[name] = SpilledColumn(self._file.add(values), levels)

    def ordered(self, names: list[str]) -> "SpilledColumns":
        self._columns = {name: self._columns[name] for name in names}
        return self

    def column(self, name: str) -> SpilledColumn:
        return self._columns[name]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def with_missing(levels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(levels + 1,): the levels, and None at the end, which position -1 selects."""
    table = np.empty(len(levels) + 1, dtype=object)
    table[:-1] = levels
    return table
