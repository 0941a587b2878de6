"""The interface of encoders, which write predictions as bytes, and functions that format warnings and errors as
text."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from models.outputs import Outputs
from models.row_warnings import RowWarning
from models.rows import RowError, ValidatedRows

NO_LIMIT = 2**62


class StopReason(Protocol):
    """The error that ends a response after its first bytes were sent."""

    @property
    def title(self) -> str: ...

    @property
    def detail(self) -> str: ...

    @property
    def errors(self) -> Sequence[RowError]: ...

    def document(self) -> bytes:
        """The problem document (RFC 9457)."""
        ...


class TableEncoder(Protocol):
    """Writes a response block by block."""

    content_type: ClassVar[bytes]
    max_errors: ClassVar[int]  # maximum number of row errors in the response

    def head(self) -> bytes:
        """The bytes before the first block."""
        ...

    def block(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        """The bytes of one block. outputs: the outputs of the valid rows. first_row: the number of the block's first
        row in the request."""
        ...

    def stop(self, reason: StopReason) -> bytes:
        """The last bytes of a response that ends early. They contain the reason, because the status has already been
        sent."""
        ...

    def end(self) -> bytes: ...


def errors_by_row(accepted: ValidatedRows, first_row: int) -> dict[int, list[RowError]]:
    """The errors of each row, by its position in the block."""
    found: dict[int, list[RowError]] = {}
    for error in accepted.errors:
        if error.row is not None:
            found.setdefault(error.row - first_row, []).append(error)
    return found


def row_position(accepted: ValidatedRows, valid_row: int) -> int:
    """The position of a valid row among all rows of the block."""
    return valid_row if accepted.valid is None else accepted.valid[valid_row]


def join_messages(found: Sequence[RowError | RowWarning]) -> str:
    """Join the warnings or errors of one row into a single text."""
    return "; ".join(f"{one.code}: {one.message}" for one in found)


def stop_message(reason: StopReason) -> str:
    """The reason why a response ends early, as text."""
    return "stopped: " + (join_messages(reason.errors[:10]) or f"{reason.title}: {reason.detail}")
