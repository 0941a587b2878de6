"""Reads NDJSON, one object per line, in batches. It is read twice: the types of the columns depend on all lines."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from models.text import render
from training.encodings import TextEncoding
from training.errors import UsageError
from training.raw_table import BatchSink, RawTable, check_names
from training.streaming.cell_types import ColumnTypes, in_batches

BATCH_ROWS = 20_000


def is_ndjson(head: bytes) -> bool:
    """Whether the first two lines that are not blank are objects."""
    lines = [line for line in head.split(b"\n") if line.strip()]
    try:
        return len(lines) > 1 and all(isinstance(json.loads(line), dict) for line in lines[:2])
    except (ValueError, RecursionError):
        return False


def read_ndjson(
    open_chunks: Callable[[], Iterable[bytes]], encoding: TextEncoding, where: str, sink: BatchSink
) -> RawTable:
    """Read NDJSON. open_chunks: returns the text in UTF-8 from its beginning. Raises UsageError."""
    types, rows = ColumnTypes(), 0
    for row in _rows(open_chunks(), where):
        types.add_row(row)
        rows += 1
    names = types.names
    check_names(names, where)
    for batch in in_batches(_rows(open_chunks(), where), BATCH_ROWS):
        sink.add(types.batch(batch))
    return RawTable(names, sink.columns(), True, rows, [*encoding.notices], {"format": "NDJSON"})


def _rows(chunks: Iterable[bytes], where: str) -> Iterator[dict[str, Any]]:
    count = 0
    for number, line in enumerate(_lines(chunks), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where}, line {number}, is not valid JSON: {error}") from None
        count += 1
        if not isinstance(row, dict):
            raise UsageError(f"{where} is not a table: its row {count} is {render(row)}, not an object")
        yield row


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Split chunks into lines. Chunks of UTF-16 may end within a line: a byte of a character can equal a line feed."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    yield rest
