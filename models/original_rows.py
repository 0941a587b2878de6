"""Some rows of a request as they were sent, for capture: a frame has no text of the levels that training never saw."""

from collections.abc import Sequence
from typing import NamedTuple

from models.columns import ColumnRows, Columns
from models.frame import Row

MAX_SAMPLED_ROWS = 16  # limit for one request, so that one client does not represent all


class OriginalRows(NamedTuple):
    """positions: of the rows among the valid ones of the request. rows: as JSON objects."""

    positions: range
    rows: Sequence[Row]


def original_rows(rows: Sequence[Row]) -> OriginalRows:
    """At most MAX_SAMPLED_ROWS of the valid rows, evenly spaced."""
    positions = spaced(len(rows))
    return OriginalRows(positions, rows[:: positions.step])


def original_columns(columns: Columns, count: int, valid: Sequence[int] | None = None) -> OriginalRows:
    """At most MAX_SAMPLED_ROWS of the valid rows of columns. The rows are created when they are read. valid: positions
    of the valid rows."""
    positions = spaced(count if valid is None else len(valid))
    return OriginalRows(positions, ColumnRows(columns, count, [at if valid is None else valid[at] for at in positions]))


def spaced(count: int) -> range:
    return range(0, count, max(1, -(-count // MAX_SAMPLED_ROWS)))
