"""The interface of encoders, and what they say of a row in text."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from models.outputs import Answers
from models.row_warnings import RowWarning
from models.rows import RowError, ValidatedRows
from service.errors import RequestError

ALL = 2**62  # errors


class Encoder(Protocol):
    """Answers to bytes."""

    kind: ClassVar[bytes]  # content type
    told: ClassVar[int]  # how many errors of rows it wants in all

    def head(self) -> bytes:
        """What comes before the first block."""
        ...

    def block(self, accepted: ValidatedRows, answers: Answers, first_row: int) -> bytes: ...

    def stop(self, error: RequestError) -> bytes:
        """What tells that the answer ends here, and why: after the status is sent, this is the only place."""
        ...

    def end(self) -> bytes: ...


def by_row(accepted: ValidatedRows, first_row: int) -> dict[int, list[RowError]]:
    """The errors of each row, by its place in the block."""
    found: dict[int, list[RowError]] = {}
    for error in accepted.errors:
        if error.row is not None:
            found.setdefault(error.row - first_row, []).append(error)
    return found


def place(accepted: ValidatedRows, valid_row: int) -> int:
    """Where a valid row stands in the block."""
    return valid_row if accepted.valid is None else accepted.valid[valid_row]


def sentence(found: Sequence[RowError | RowWarning]) -> str:
    """What is said of one row, as a text."""
    return "; ".join(f"{one.code}: {one.message}" for one in found)


def stopped(error: RequestError) -> str:
    """Why an answer ends before its time, as a text."""
    return "stopped: " + (sentence(error.errors[:10]) or f"{error.title}: {error.detail}")
