"""The interface of decoders, and blocks of rows."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from models.columns import Column
from models.rows import MAX_LISTED_ERRORS, ValidatedRows
from models.schema import FeatureSchema
from service.errors import RequestNotValid
from service.protocols import native

MOST_LINE = 1024**2  # bytes of a line of text
SLICE = 256 * 1024  # bytes of a body that is there, decoded at a time: cells take far more room than their text


class Block(Protocol):
    """Some rows of a table, in order."""

    @property
    def count(self) -> int: ...

    def accept(
        self, schema: FeatureSchema, *, skip: bool = False, first_row: int = 0, most: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
        """Check the rows. Raises RowsNotValid."""
        ...


@dataclass(frozen=True)
class ColumnBlock:
    columns: Mapping[str, Column]
    count: int

    def accept(
        self, schema: FeatureSchema, *, skip: bool = False, first_row: int = 0, most: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
        return native.accept_columns(schema, self.columns, self.count, skip=skip, first_row=first_row, most=most)


@dataclass(frozen=True)
class RowBlock:
    rows: Sequence[object]  # JSON values; `Unreadable` where there is none

    @property
    def count(self) -> int:
        return len(self.rows)

    def accept(
        self, schema: FeatureSchema, *, skip: bool = False, first_row: int = 0, most: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
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
