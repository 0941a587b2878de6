"""Blocks: rows of a table that are decoded and validated together; and the interface of decoders.

A body arrives in chunks of bytes. A decoder splits its rows into blocks, and the model predicts batches of rows.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from models.column_validation import validate_columns
from models.columns import Column, Columns
from models.formats.errors import EmptyTable
from models.rows import MAX_LISTED_ERRORS, ValidatedRows, validate_rows
from models.schema import FeatureSchema

MAX_LINE_BYTES = 1024**2
CHUNK_BYTES = 256 * 1024  # decoded at a time of a complete body: cells take far more memory than their text


class Block(Protocol):
    """Some rows of a table, in order."""

    @property
    def count(self) -> int: ...

    def validate(
        self, schema: FeatureSchema, *, first_row: int = 0, max_errors: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
        """Validate the rows, as `models.rows.validate_rows` does."""
        ...


@dataclass(frozen=True)
class ColumnBlock:
    columns: Mapping[str, Column]
    count: int

    def validate(
        self, schema: FeatureSchema, *, first_row: int = 0, max_errors: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
        return validate_columns(schema, self.columns, self.count, first_row=first_row, max_errors=max_errors)


@dataclass(frozen=True)
class RowBlock:
    rows: Sequence[object]  # JSON values; `UndecodableRow` if a row could not be decoded

    @property
    def count(self) -> int:
        return len(self.rows)

    def validate(
        self, schema: FeatureSchema, *, first_row: int = 0, max_errors: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
        return validate_rows(schema, self.rows, first_row=first_row, max_errors=max_errors)


@dataclass(frozen=True)
class ValidBlock:
    """Rows that were found to be valid when they were decoded."""

    rows: ValidatedRows

    @property
    def count(self) -> int:
        return self.rows.count

    def validate(
        self, schema: FeatureSchema, *, first_row: int = 0, max_errors: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
        return self.rows


@dataclass(frozen=True)
class OuterBlock:
    """A block with further columns of the table that it was read from."""

    block: Block

    @property
    def count(self) -> int:
        return self.block.count

    def validate(
        self, schema: FeatureSchema, *, first_row: int = 0, max_errors: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
        return self.block.validate(schema, first_row=first_row, max_errors=max_errors)


@dataclass(frozen=True)
class InputsBlock(OuterBlock):
    """inputs: all columns of the table, also those that the model does not use."""

    inputs: Columns


class TableDecoder(Protocol):
    """Chunks of bytes to blocks of a given number of rows. Raises FormatError if it cannot continue."""

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """Full blocks, each of which is followed by at least one more row."""
        ...

    def rest(self) -> Iterator[Block]:
        """The blocks that are left at the end of the body; the last one may be smaller."""
        ...

    def close(self) -> None:
        """Release its resources, at any point."""
        ...


def decode_whole(decoder: TableDecoder, body: bytes) -> Block | None:
    """All rows of a body as one block, None if they are more than the decoder's blocks have. Raises FormatError."""
    with contextlib.closing(decoder):
        for start in range(0, len(body), CHUNK_BYTES):
            if next(decoder.feed(body[start : start + CHUNK_BYTES]), None):
                return None
        rest = decoder.rest()
        block = next(rest, None)
        if block is None:
            raise EmptyTable
        return None if next(rest, None) else block


def first_repeated(names: Sequence[str]) -> str | None:
    """The first name that occurs a second time."""
    known: set[str] = set()
    for name in names:
        if name in known:
            return name
        known.add(name)
    return None
