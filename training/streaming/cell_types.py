"""Decides the Arrow type of each column of Python values from all of its cells, before they become Arrow batches.

The rules are those of `column_of_cells` for a whole column: one type, or the texts of the cells.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from training.raw_table import cell_text, column_of_cells

MAX_INT, MAX_EXACT = 2**63, 2**53  # limits of int64 and of exact integers in float64


class ColumnTypes:
    """Collects the types of the cells of each column, and converts rows to Arrow batches."""

    def __init__(self) -> None:
        self._seen: dict[str, set[type]] = {}
        self._largest: dict[str, int] = {}
        self._nested: dict[str, Any] = {}
        self._types: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        """The names of the columns in the order of their first cells."""
        return [*self._seen]

    def add_row(self, row: dict[str, Any]) -> None:
        for name, cell in row.items():
            seen = self._seen.get(name)
            if seen is None:
                seen = self._seen[name] = set()
            kind = type(cell)
            seen.add(kind)
            if kind is int:
                self._largest[name] = max(self._largest.get(name, 0), abs(cell))
            elif kind in (list, dict) and name not in self._nested:
                self._nested[name] = column_of_cells([cell]).type

    def batch(self, rows: Sequence[dict[str, Any]]) -> Any:
        """Convert rows to a batch; a column that a row lacks is missing in this row."""
        types = self._types or {name: self._decide(name) for name in self.names}
        self._types = types
        arrays = [_array([row.get(name) for row in rows], types[name]) for name in self.names]
        return pa.record_batch(arrays, names=self.names)

    def _decide(self, name: str) -> Any:
        seen, largest = self._seen[name] - {type(None)}, self._largest.get(name, 0)
        if not seen:
            return pa.null()
        if seen == {bool}:
            return pa.bool_()
        if seen == {int} and largest < MAX_INT:
            return pa.int64()
        if seen == {float} or (seen == {int, float} and largest <= MAX_EXACT):
            return pa.float64()
        if seen == {str}:
            return pa.string()
        if seen == {bytes}:
            return pa.binary()
        if seen & {list, dict} and len(seen) == 1:
            return self._nested[name]
        return pa.large_string()


def _array(cells: list[Any], kind: Any) -> Any:
    if kind == pa.large_string():
        return pa.array([None if cell is None else cell_text(cell) for cell in cells], kind)
    if pa.types.is_nested(kind):  # training cannot use them: only the type is reported
        return pa.nulls(len(cells), kind)
    return pa.array(cells, kind)


def in_batches(rows: Iterable[dict[str, Any]], size: int) -> Iterable[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
