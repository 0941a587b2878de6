"""A sample of a request's rows as they were sent, for capture, because a frame does not contain the texts of unseen
levels."""

from collections.abc import Sequence
from typing import NamedTuple

from models.columns import ColumnRows, Columns
from models.frame import Row

MAX_SAMPLED_ROWS = 16  # limit per request, so that one client does not dominate the sample


class OriginalRows(NamedTuple):
    """A sample of rows. positions: their positions among the valid rows of the request. rows: the rows as JSON
    objects."""

    positions: range
    rows: Sequence[Row]


def original_rows(rows: Sequence[Row]) -> OriginalRows:
    """At most MAX_SAMPLED_ROWS of the valid rows, evenly spaced."""
    positions = spaced_positions(len(rows))
    return OriginalRows(positions, rows[:: positions.step])


def original_columns(columns: Columns, count: int, valid: Sequence[int] | None = None) -> OriginalRows:
    """At most MAX_SAMPLED_ROWS of the valid rows, evenly spaced, from columns. A row is created when it is accessed.
    valid: the positions of the valid rows."""
    positions = spaced_positions(count if valid is None else len(valid))
    return OriginalRows(positions, ColumnRows(columns, count, [at if valid is None else valid[at] for at in positions]))


def spaced_positions(count: int) -> range:
    return range(0, count, max(1, -(-count // MAX_SAMPLED_ROWS)))
