"""Reads the headers of messages in an Arrow IPC stream, before pyarrow reads the messages."""

import functools
import struct
from typing import Any

from models.formats.arrow_columns import arrow_errors, check_names, unreadable_error
from models.formats.errors import FormatError

MESSAGE_START = b"\xff\xff\xff\xff"  # before each message of a stream
END = MESSAGE_START + bytes(4)
SCHEMA, DICTIONARY, RECORD_BATCH = 1, 2, 3  # types of messages
MAX_METADATA_BYTES = 4 * 1024**2
CACHED_BYTES = 16 * 1024  # longer metadata is not cached


class MessageHeader:
    """The type and length of a message, read before pyarrow reads the message."""

    def __init__(self, metadata: bytes) -> None:
        try:
            self._data = metadata
            table = self._unpack("<I", 0)
            self.kind = int(self._field(table, 1, "<B"))
            self.body_bytes = int(self._field(table, 3, "<q"))
            header = self._offset(table, 2)
            self.is_delta = self.kind == DICTIONARY and bool(header) and self._is_delta(header)
            self.compressed = self.kind != SCHEMA and bool(header) and self._is_compressed(header)
        except struct.error:
            raise FormatError("it is not an Arrow stream") from None
        if self.body_bytes < 0:
            raise FormatError("it is not an Arrow stream")

    def _unpack(self, form: str, place: int) -> Any:
        if place < 0:
            raise struct.error
        return struct.unpack_from(form, self._data, place)[0]

    def _offset(self, table: int, number: int) -> int:
        """The offset of a field in a flatbuffers table; 0 if the field has its default value."""
        names = table - self._unpack("<i", table)
        size = self._unpack("<H", names)
        offset = self._unpack("<H", names + 4 + 2 * number) if 4 + 2 * number < size else 0
        return table + offset if offset else 0

    def _field(self, table: int, number: int, form: str) -> Any:
        place = self._offset(table, number)
        return self._unpack(form, place) if place else 0

    def _is_delta(self, header: int) -> bool:
        return bool(self._field(header + self._unpack("<I", header), 2, "<B"))

    def _is_compressed(self, header: int) -> bool:
        batch = header + self._unpack("<I", header)
        if self.kind != RECORD_BATCH:  # a dictionary contains a batch
            data = self._offset(batch, 1)
            if not data:
                return False
            batch = data + self._unpack("<I", data)
        return self._offset(batch, 3) != 0


cached_header = functools.lru_cache(64)(MessageHeader)  # batches of the same shape have the same metadata


def read_schema(content: bytes) -> Any:
    """Read the schema message at the start of a stream. Raises FormatError."""
    import pyarrow as pa

    try:
        schema = pa.ipc.read_schema(pa.py_buffer(content))
        check_names(schema.names)
    except arrow_errors() as error:
        raise unreadable_error(error) from None
    return schema


cached_schema = functools.lru_cache(64)(read_schema)  # all streams of a client begin with the same bytes
