"""The results of validating rows: errors, warnings, and the valid rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from models.frame import Frame, Row

MAX_LISTED_ERRORS = 100


class RowError(NamedTuple):
    """One thing wrong with a request. `row` counts from 0 and is None for what concerns the whole request."""

    row: int | None
    field: str | None
    code: str
    message: str


class RowWarning(NamedTuple):
    """Something unusual in a row that was answered all the same."""

    field: str
    code: str
    message: str


class Unreadable(NamedTuple):
    """What stands in the place of a row that could not even be read."""

    code: str
    message: str


@dataclass
class Checked:
    """The verdict on the rows of a request: the good ones, where they stood, and what is wrong with the others."""

    rows: Sequence[Row]
    count: int
    valid: list[int] | None = None  # None: every row is valid
    errors: list[RowError] = field(default_factory=list)
    omitted: int = 0

    @property
    def invalid_rows(self) -> int:
        return self.count - len(self.rows)


@dataclass
class ValidatedRows:
    """The valid rows of a request, ready to be predicted, and what there is to say about all of them."""

    frame: Frame
    count: int  # rows of the request, valid or not
    valid: Sequence[int] | None = None  # where the valid ones stood; None: all are valid
    errors: Sequence[RowError] = ()
    omitted: int = 0
    warnings: Mapping[int, Sequence[RowWarning]] = field(default_factory=dict)  # by the row's place in `frame`
