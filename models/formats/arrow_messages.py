"""The messages of an Arrow IPC stream: the part of them that is read before pyarrow gets them."""

import functools
import struct
from typing import Any

from models.formats.arrow_columns import check_names, failures, unreadable
from models.formats.errors import FormatError

MESSAGE_START = b"\xff\xff\xff\xff"  # before each message of a stream
END = MESSAGE_START + bytes(4)
SCHEMA, DICTIONARY, RECORD_BATCH = 1, 2, 3  # kinds of messages
MAX_METADATA_BYTES = 4 * 1024**2
CACHED_BYTES = 16 * 1024  # longer metadata is read again each time


class MessageHeader:
    """The part of a message that is read before pyarrow gets it: its kind and its length."""

    def __init__(self, metadata: bytes) -> None:
        try:
            self._data = metadata
            table = self._at("<I", 0)
            self.kind = int(self._field(table, 1, "<B"))
            self.body_bytes = int(self._field(table, 3, "<q"))
            header = self._place(table, 2)
            self.is_delta = self.kind == DICTIONARY and bool(header) and self._is_delta(header)
            self.compressed = self.kind != SCHEMA and bool(header) and self._is_compressed(header)
        except struct.error:
            raise FormatError("it is not an Arrow stream") from None
        if self.body_bytes < 0:
            raise FormatError("it is not an Arrow stream")

    def _at(self, form: str, place: int) -> Any:
        if place < 0:
            raise struct.error
        return struct.unpack_from(form, self._data, place)[0]

    def _place(self, table: int, number: int) -> int:
        """The offset of a field of a flatbuffers table; 0 if it has its default."""
        names = table - self._at("<i", table)
        size = self._at("<H", names)
        offset = self._at("<H", names + 4 + 2 * number) if 4 + 2 * number < size else 0
        return table + offset if offset else 0

    def _field(self, table: int, number: int, form: str) -> Any:
        place = self._place(table, number)
        return self._at(form, place) if place else 0

    def _is_delta(self, header: int) -> bool:
        return bool(self._field(header + self._at("<I", header), 2, "<B"))

    def _is_compressed(self, header: int) -> bool:
        batch = header + self._at("<I", header)
        if self.kind != RECORD_BATCH:  # a dictionary holds a batch
            data = self._place(batch, 1)
            if not data:
                return False
            batch = data + self._at("<I", data)
        return self._place(batch, 3) != 0


cached_header = functools.lru_cache(64)(MessageHeader)  # batches of the same shape have the same metadata


def read_schema(content: bytes) -> Any:
    """The schema message, which opens a stream. Raises FormatError."""
    import pyarrow as pa

    try:
        schema = pa.ipc.read_schema(pa.py_buffer(content))
        check_names(schema.names)
    except failures() as error:
        raise unreadable(error) from None
    return schema


cached_schema = functools.lru_cache(64)(read_schema)  # a client opens all of its streams with the same bytes
