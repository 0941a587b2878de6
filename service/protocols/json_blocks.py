"""Splits a large JSON body into blocks of rows and validates them one after the other.

Between two blocks, other threads can acquire Python's lock.
"""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from models import json_text
from models.number_rows import MIN_BYTES
from models.repeated_names import mark_repeated_names
from models.rows import (
    MAX_LISTED_ERRORS,
    ValidatedRows,
    concatenate,
    from_valid_rows,
    read_number_rows,
    repeated_field,
    validate_rows,
)
from models.schema import FeatureSchema
from service.errors import TooManyRows

BLOCK_BYTES = 64 * 1024  # parsed in about half a millisecond
HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"rows"[ \t\r\n]*:[ \t\r\n]*\[')
TAIL = re.compile(rb"\][ \t\r\n]*\}[ \t\r\n]*\Z")
MAX_TAIL_BYTES = 100
BLANKS = b" \t\r\n"  # the white space of JSON
BETWEEN_ROWS = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\{")
BETWEEN_LISTS = re.compile(rb"\][ \t\r\n]*,[ \t\r\n]*\[")  # arrays are not rows, but they count as rows


class ParsedBlock(NamedTuple):
    """The rows of a block. validate: receives the first row's number and the maximum number of listed errors."""

    rows: int
    validate: Callable[[int, int], ValidatedRows]


def validate(schema: FeatureSchema, body: bytes, max_rows: int) -> ValidatedRows | None:
    """Validate the rows of `{"rows": [...]}`; None if the body cannot be split into blocks. Raises TooManyRows.

    The body is split where a row seems to end. A split inside a string or a nested list leaves blocks that
    are not JSON. So if every block parses as rows, the blocks together are the rows of the body.
    """
    blocks: list[ValidatedRows] = []
    count = listed_errors = 0
    for text in split(body):
        parsed = parse_block(schema, text)
        if parsed is None:
            return None
        if count + parsed.rows <= max_rows:
            block = parsed.validate(count, MAX_LISTED_ERRORS - listed_errors)
            blocks.append(block)
            listed_errors += len(block.errors)
        count += parsed.rows
        time.sleep(0)
    if count > max_rows:
        raise TooManyRows(count, max_rows)
    return concatenate(blocks) if blocks else None


def read_number_body(schema: FeatureSchema, body: bytes) -> ValidatedRows | None:
    """The rows of `{"rows": [...]}` if there are many rows, all valid and numeric; None for other bodies."""
    if len(body) < MIN_BYTES or schema.number_rows is None:
        return None
    head, tail = HEAD.match(body), TAIL.search(body, max(0, len(body) - MAX_TAIL_BYTES))
    if head is None or tail is None:
        return None
    return read_number_rows(schema, body[head.end() : tail.start()])


def split(body: bytes) -> Iterator[bytes]:
    """Yield the rows of `{"rows": [...]}` as blocks `[[...]]` of about BLOCK_BYTES; nothing for other bodies."""
    head, tail = HEAD.match(body), TAIL.search(body, max(0, len(body) - MAX_TAIL_BYTES))
    if head is None or tail is None or head.end() > tail.start():
        return
    start, end = head.end(), tail.start()
    between = BETWEEN_LISTS if body[start : start + MAX_TAIL_BYTES].lstrip().startswith(b"[") else BETWEEN_ROWS
    while start <= end:
        found = between.search(body, start + BLOCK_BYTES, end)
        stop = found.start() + 1 if found else end
        yield b"[[%b]]" % body[start:stop]
        start = body.index(b",", stop, end) + 1 if found else end + 1


def parse_block(schema: FeatureSchema, text: bytes) -> ParsedBlock | None:
    """The rows of a block, valid or not; None if the block is not a list of rows."""
    if (read := read_number_rows(schema, text[2:-2].strip(BLANKS))) is not None:
        return ParsedBlock(read.count, lambda first_row, max_errors: read)
    if (valid := schema.validators.parse_block(text)) is not None:
        return ParsedBlock(len(valid), lambda first_row, max_errors: from_valid_rows(schema, valid))
    if (rows := parse_any_rows(text)) is None:
        return None
    return ParsedBlock(
        len(rows),
        lambda first_row, max_errors: validate_rows(schema, rows, first_row=first_row, max_errors=max_errors),
    )


def parse_any_rows(text: bytes) -> list[Any] | None:
    """The rows of a block as JSON values; None if the block is not a list of rows."""
    try:
        document = json_text.parse(text)
    except json_text.JsonError:
        return None
    if len(document) != 1:
        return None
    rows: list[Any] = document[0]
    if (marked := mark_repeated_names(text, rows)) is not None:
        rows = [repeated_field(each, row) for each, row in zip(marked[0], rows, strict=True)]
    return rows or None
