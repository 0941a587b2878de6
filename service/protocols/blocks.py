"""A table that comes in pieces: decoders make blocks of rows of them, encoders write the answers of block after block.

Whatever format a block came in, it is checked by the same rules; whatever format is answered, a row is told the same.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from models.columns import Column
from models.outputs import Answers
from models.rows import MAX_LISTED_ERRORS, RowError, RowWarning
from models.schema import FeatureSchema
from service.errors import RequestError, RequestNotValid
from service.protocols import native
from service.protocols.native import Accepted

MOST_LINE = 1024**2  # bytes of a line of text
SLICE = 256 * 1024  # bytes of a body that is there, decoded at a time: cells take far more room than their text
ALL = 2**62  # errors


class Block(Protocol):
    """Some rows of a table, in order."""

    @property
    def count(self) -> int: ...

    def accept(
        self, schema: FeatureSchema, *, skip: bool = False, first_row: int = 0, most: int = MAX_LISTED_ERRORS
    ) -> Accepted:
        """Check the rows. Raises RowsNotValid."""
        ...


@dataclass(frozen=True)
class ColumnBlock:
    columns: Mapping[str, Column]
    count: int

    def accept(
        self, schema: FeatureSchema, *, skip: bool = False, first_row: int = 0, most: int = MAX_LISTED_ERRORS
    ) -> Accepted:
        return native.accept_columns(schema, self.columns, self.count, skip=skip, first_row=first_row, most=most)


@dataclass(frozen=True)
class RowBlock:
    rows: Sequence[object]  # JSON values; `Unreadable` where there is none

    @property
    def count(self) -> int:
        return len(self.rows)

    def accept(
        self, schema: FeatureSchema, *, skip: bool = False, first_row: int = 0, most: int = MAX_LISTED_ERRORS
    ) -> Accepted:
        return native.accept_rows(schema, self.rows, skip=skip, first_row=first_row, most=most)


class Decoder(Protocol):
    """Bytes to blocks of so many rows. Raises BadBody where it cannot go on."""

    def feed(self, piece: bytes) -> Iterator[Block]:
        """Full blocks, of which one more row at least is there."""
        ...

    def rest(self) -> Iterator[Block]:
        """What is left at the end of the body; the last block may be smaller."""
        ...

    def close(self) -> None:
        """Give back what it holds, wherever it is."""
        ...


def whole(decoder: Decoder, body: bytes) -> Block | None:
    """All rows of a body as one block, None where they are more than the decoder's blocks have. Raises BadBody or
    RequestNotValid."""
    with contextlib.closing(decoder):
        for start in range(0, len(body), SLICE):
            if next(decoder.feed(body[start : start + SLICE]), None):
                return None
        rest = decoder.rest()
        block = next(rest, None)
        if block is None:
            raise empty()
        return None if next(rest, None) else block


def repeated(names: Sequence[str]) -> str | None:
    """The first name that was there before."""
    known: set[str] = set()
    for name in names:
        if name in known:
            return name
        known.add(name)
    return None


def empty() -> RequestNotValid:
    return native.refused([native.fault("empty_rows", "the body has no rows, expected one or more")])


class Encoder(Protocol):
    """Answers to bytes."""

    kind: ClassVar[bytes]  # content type
    told: ClassVar[int]  # how many errors of rows it wants in all

    def head(self) -> bytes:
        """What comes before the first block."""
        ...

    def block(self, accepted: Accepted, answers: Answers, first_row: int) -> bytes: ...

    def stop(self, error: RequestError) -> bytes:
        """What tells that the answer ends here, and why: after the status is sent, this is the only place."""
        ...

    def end(self) -> bytes: ...


def by_row(accepted: Accepted, first_row: int) -> dict[int, list[RowError]]:
    """The errors of each row, by its place in the block."""
    found: dict[int, list[RowError]] = {}
    for error in accepted.errors:
        if error.row is not None:
            found.setdefault(error.row - first_row, []).append(error)
    return found


def place(accepted: Accepted, valid_row: int) -> int:
    """Where a valid row stands in the block."""
    return valid_row if accepted.valid is None else accepted.valid[valid_row]


def sentence(found: Sequence[RowError | RowWarning]) -> str:
    """What is said of one row, as a text."""
    return "; ".join(f"{one.code}: {one.message}" for one in found)


def stopped(error: RequestError) -> str:
    """Why an answer ends before its time, as a text."""
    return "stopped: " + (sentence(error.errors[:10]) or f"{error.title}: {error.detail}")
