"""The interfaces of decoders and of blocks, which are rows of a table that are decoded and validated together.

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
CHUNK_BYTES = 256 * 1024  # part of a complete body that is decoded at once: cells take far more memory than their text


class Block(Protocol):
    """Consecutive rows of a table."""

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
    """Rows that were already validated when they were decoded."""

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
    """A block with additional columns of its table."""

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
    """A block with all columns of its table, `inputs`, including those that the model does not use."""

    inputs: Columns


class TableDecoder(Protocol):
    """Decodes chunks of bytes to blocks of a given number of rows. Raises FormatError if the bytes cannot be
    decoded."""

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """The full blocks that are complete now. At least one more row follows each of them."""
        ...

    def rest(self) -> Iterator[Block]:
        """The remaining blocks at the end of the body; the last block may be smaller."""
        ...

    def close(self) -> None:
        """Release the decoder's resources; allowed at any time."""
        ...


def decode_whole(decoder: TableDecoder, body: bytes) -> Block | None:
    """All rows of a body as one block; None if there are more rows than fit into one block. Raises
    FormatError."""
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
