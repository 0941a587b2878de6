"""Decodes Arrow IPC streams to blocks of rows. pyarrow is imported when the first stream arrives."""

import struct
from collections.abc import Iterator
from typing import Any

from models.formats.arrow_columns import (
    MAX_ROWS_PER_BYTE,
    BlockBuilder,
    arrow_errors,
    check_type,
    unreadable_error,
    view_bytes,
)
from models.formats.arrow_messages import (
    CACHED_BYTES,
    MAX_METADATA_BYTES,
    MESSAGE_START,
    RECORD_BATCH,
    SCHEMA,
    MessageHeader,
    cached_header,
    cached_schema,
    read_schema,
)
from models.formats.blocks import Block
from models.formats.errors import FormatError, TooLarge
from models.schema import FeatureSchema
from models.text import counted


class ArrowDecoder:
    """Extracts complete messages from the received bytes. pyarrow reads each batch separately; a stream with
    dictionaries is read by one reader, which stores the dictionaries."""

    def __init__(self, schema: FeatureSchema, block_rows: int, max_bytes: int) -> None:
        self._blocks = BlockBuilder(schema, block_rows)
        self._features = schema.by_name
        self._max_bytes = max_bytes
        self._delta_bytes = 0  # total size of the dictionaries that deltas extended
        self._rest = bytearray()
        self._schema: Any = None
        self._schema_message = b""
        self._source = ReadBuffer()
        self._reader: Any = None
        self._ended = False

    def feed(self, chunk: bytes) -> Iterator[Block]:
        self._rest += chunk
        while not self._ended and (message := self._next_message()) is not None:
            kind, content = message
            if kind == SCHEMA:
                self._open(content)
            elif kind == RECORD_BATCH:
                yield from self._decode_batch(content)
            else:
                self._check_dictionary(content)
                self._source.add(content if self._reader else self._schema_message + content)
                self._open_reader()
        if self._ended and self._rest:
            raise FormatError(f"{counted(len(self._rest), 'byte follows', 'bytes follow')} the end of its stream")

    def rest(self) -> Iterator[Block]:
        if self._rest:
            raise FormatError("its Arrow stream is cut off")
        if self._schema is None:
            raise FormatError("it is not an Arrow stream")
        yield from self._blocks.rest()

    def close(self) -> None: ...

    def _next_message(self) -> tuple[int, bytes] | None:
        """The type and content of the next complete message; None if it has not arrived."""
        if len(self._rest) < 8:
            return None
        if not self._rest.startswith(MESSAGE_START):
            raise FormatError("it is not an Arrow stream (the Arrow file format is not supported)")
        (length,) = struct.unpack_from("<i", self._rest, 4)
        if length == 0:
            self._ended = True
            del self._rest[:8]
            return None
        if not 0 < length <= MAX_METADATA_BYTES:
            raise FormatError("it is not an Arrow stream")
        if len(self._rest) < 8 + length:
            return None
        metadata = bytes(self._rest[8 : 8 + length])
        message = cached_header(metadata) if length <= CACHED_BYTES else MessageHeader(metadata)
        if message.compressed:
            raise FormatError("its buffers are compressed; compress the whole body instead (Content-Encoding: zstd)")
        end = 8 + length + message.body_bytes
        if end > self._max_bytes:
            raise TooLarge(self._max_bytes, what="a record batch (write smaller batches with max_chunksize)")
        if len(self._rest) < end:
            return None
        content = bytes(memoryview(self._rest)[:end])
        del self._rest[:end]
        return message.kind, content

    def _open(self, content: bytes) -> None:
        if self._schema is not None:
            raise FormatError("it contains two schemas")
        self._schema = cached_schema(content) if len(content) <= CACHED_BYTES else read_schema(content)
        self._schema_message = content
        for name in self._schema.names:
            if name in self._features:
                check_type(self._schema.field(name).type, name)

    def _check_dictionary(self, content: bytes) -> None:
        """Raises TooLarge if the total size of the dictionary deltas becomes too large. Dictionaries are stored until
        the stream ends."""
        (length,) = struct.unpack_from("<i", content, 4)
        if MessageHeader(content[8 : 8 + length]).is_delta:
            self._delta_bytes += len(content)
            if self._delta_bytes > self._max_bytes:
                raise TooLarge(self._max_bytes, what="the total of its dictionary deltas")

    def _open_reader(self) -> None:
        import pyarrow as pa

        if self._schema is None:
            raise FormatError("it contains a dictionary before a schema")
        if self._reader is None:
            try:
                self._reader = pa.ipc.open_stream(pa.PythonFile(self._source, "r"))
            except arrow_errors() as error:
                raise unreadable_error(error) from None

    def _next_batch(self, content: bytes) -> Any:
        import pyarrow as pa

        if self._reader is None:
            return pa.ipc.read_record_batch(pa.py_buffer(content), self._schema)
        self._source.add(content)
        return self._reader.read_next_batch()

    def _decode_batch(self, content: bytes) -> Iterator[Block]:
        if self._schema is None:
            raise FormatError("it contains rows before a schema")
        try:
            batch = self._next_batch(content)
            if batch.num_rows > len(content) * MAX_ROWS_PER_BYTE:
                rows = counted(batch.num_rows, "row")
                raise FormatError(f"a record batch of {counted(len(content), 'byte')} cannot contain {rows}")
            yield from self._blocks.add(self._validate_batch(batch))
        except arrow_errors() as error:
            raise unreadable_error(error) from None

    def _validate_batch(self, batch: Any) -> Any:
        """The validated batch, with null columns in place of columns that are not features. Raises TooLarge for too
        much text, before the text is read."""
        import pyarrow as pa

        batch.validate()
        known = [name in self._features for name in batch.schema.names]
        columns = [
            column if has_feature else pa.nulls(batch.num_rows)
            for column, has_feature in zip(batch.columns, known, strict=True)
        ]
        if sum(map(view_bytes, columns)) > self._max_bytes:
            raise TooLarge(self._max_bytes, expanded=True)
        fields = [(name, column.type) for name, column in zip(batch.schema.names, columns, strict=True)]
        batch = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata=batch.schema.metadata))
        batch.validate(full=True)
        return batch


class ReadBuffer:
    """A file object with the bytes that were added but not read yet."""

    closed = False

    def __init__(self) -> None:
        self._content = b""
        self._place = 0

    def add(self, content: bytes) -> None:
        self._content = self._content[self._place :] + content
        self._place = 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._content) if size < 0 else self._place + size
        content = self._content[self._place : end]
        self._place += len(content)
        return content

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def flush(self) -> None: ...
    def close(self) -> None: ...
