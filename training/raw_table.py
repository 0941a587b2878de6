"""A table as it was read from a file, before any type inference."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pyarrow as pa

from models.text import truncate
from training.errors import UsageError


@dataclass(frozen=True)
class RawTable:
    """A table as it was read, before any type inference.

    columns: an Arrow array for each name; the arrays of a large table are read from disk each time.
    typed: whether text is a value; otherwise (CSV, Excel) it is a cell to parse.
    origin: how the file was read (its format, encoding, …), stored in training.json.
    """

    names: list[str]
    columns: Sequence[Any]
    typed: bool
    rows: int
    notices: list[str]
    origin: dict[str, Any]
    fingerprint: str = ""  # SHA-256 of the file
    delimiter: str | None = None  # delimiter of a CSV
    encoding: str | None = None  # encoding of a CSV, as a schema stores it
    skip_rows: int | None = None  # lines above the header of a CSV, as a schema stores them
    comment: str | None = None  # prefix of comment lines in a CSV
    footer_lines: int | None = None  # lines at the end of a CSV with fewer cells
    escape: Literal["\\"] | None = None  # the character before quotes in the cells of a CSV
    categorical: frozenset[str] = field(default_factory=frozenset)  # columns that pandas stored as categorical
    spilled: bool = False  # whether its columns are in files, because it is large


class BatchSink(Protocol):
    """Receives the rows of a table in batches with the same columns."""

    def add(self, batch: Any) -> None: ...
    def columns(self) -> Sequence[Any]:
        """The Arrow array of each column, after the last batch."""
        ...


class MemoryBatches:
    """Keeps all rows in memory."""

    def __init__(self) -> None:
        self._batches: list[Any] = []

    def add(self, batch: Any) -> None:
        self._batches.append(batch)

    def columns(self) -> Sequence[Any]:
        columns: list[Any] = pa.Table.from_batches(self._batches).columns
        self._batches = []
        return columns


def check_names(names: list[str], where: str) -> None:
    """Raises UsageError if several columns have the same name."""
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        what = f"with the name {truncate(name)!r}" if name else "without a name"
        raise UsageError(f"{where} has {count} columns {what}")


def column_of_cells(cells: list[Any]) -> Any:
    """An Arrow array of Python values, or of their texts if they have several types."""
    try:
        return pa.array(cells)
    except (pa.ArrowException, OverflowError):
        texts = [None if cell is None else cell_text(cell) for cell in cells]
        return pa.array(texts, pa.large_string())


def cell_text(cell: object) -> str:
    """The text of a cell of a column whose cells have several types."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)
