"""Reads the most common Arrow body, one batch of numbers without nulls, as views of its bytes. The general code is
`ArrowDecoder`."""

import functools
from typing import Any, NamedTuple

import numpy as np

from models.columns import UNREAD, Column
from models.formats.arrow_columns import arrow_errors, buffer_offset, pandas_metadata
from models.formats.arrow_messages import (
    CACHED_BYTES,
    END,
    MESSAGE_START,
    RECORD_BATCH,
    SCHEMA,
    MessageHeader,
    read_schema,
)
from models.formats.blocks import Block, ColumnBlock
from models.formats.errors import FormatError
from models.formats.index_columns import ignored_index, index_names
from models.schema import FeatureSchema


class NumericBuffer(NamedTuple):
    """The position of a column's numbers in a body."""

    name: str
    kind: "np.dtype[Any]"
    start: int


class Layout(NamedTuple):
    rows: int
    columns: tuple[NumericBuffer, ...]
    marked: frozenset[str]  # names of columns that are the index of a pandas table


def common_block(schema: FeatureSchema, body: bytes, max_rows: int) -> Block | None:
    """The rows of the common case, one batch of numbers without nulls, as views of the body. Returns None for any other
    body, valid or not; then the decoder reads it."""
    if len(body) < 16 or not body.endswith(END):
        return None
    opening = 8 + int.from_bytes(body[4:8], "little")
    begins = opening + 8 + int.from_bytes(body[opening + 4 : opening + 8], "little")
    size = len(body) - len(END) - begins
    if begins > CACHED_BYTES or size < 0:
        return None
    layout = read_layout(body[:opening], body[opening:begins], size)
    if layout is None or not 0 < layout.rows <= max_rows:
        return None
    ignored = ignored_index(schema, layout.marked) if layout.marked else layout.marked
    columns = {
        name: Column(np.frombuffer(body, kind, layout.rows, begins + start)) if name in schema.by_name else UNREAD
        for name, kind, start in layout.columns
        if name not in ignored
    }
    return ColumnBlock(columns, layout.rows)


@functools.lru_cache(64)
def read_layout(opening: bytes, head: bytes, size: int) -> Layout | None:
    """The layout of the numbers in the `size` bytes after a schema and the head of a batch; None for other content.

    pyarrow reads the schema and the head followed by zeros instead of the numbers. The layout of numbers without nulls
    does not depend on their values, so it is the same for any numbers.
    """
    import pyarrow as pa

    if not (opening.startswith(MESSAGE_START) and head.startswith(MESSAGE_START)):
        return None
    try:
        first, message = MessageHeader(opening[8:]), MessageHeader(head[8:])
        if (first.kind, first.body_bytes, message.kind, message.body_bytes) != (SCHEMA, 0, RECORD_BATCH, size):
            return None
        content = pa.py_buffer(head + bytes(size))
        batch = pa.ipc.read_record_batch(content, read_schema(opening))
        batch.validate(full=True)
    except FormatError:
        return None
    except arrow_errors():
        return None
    columns = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        start = buffer_offset(array, content)
        if start is None or start < len(head):
            return None
        columns.append(NumericBuffer(name, np.dtype(array.type.to_pandas_dtype()), start - len(head)))
    if not columns or message.compressed:
        return None
    marked = index_names(batch.schema.names, pandas_metadata(batch.schema))
    return Layout(batch.num_rows, tuple(columns), marked)
