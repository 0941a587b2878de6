"""The part of Thrift's compact protocol that is used in the headers of Parquet pages.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any

MAX_DEPTH = 8
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

Struct = dict[int, Any]
"""Field ids to values: numbers, booleans and structs; values of other types are skipped."""


class ThriftError(ValueError):
    """The bytes are not a struct of the compact protocol."""


class ThriftReader:
    """Reads one struct; `place` is then the position after it. Raises ThriftError, also if the bytes end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def struct(self, depth: int = 0) -> Struct:
        if depth > MAX_DEPTH:
            raise ThriftError("nested too deep")
        fields: Struct = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind in (I16, I32, I64):
            return self._zigzag()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind == BINARY:
            return self._skip(self._varint())
        if kind in (BYTE, DOUBLE):
            return self._skip(1 if kind == BYTE else 8)
        raise ThriftError(f"a field of type {kind}")  # page headers contain no lists, sets and maps

    def _byte(self) -> int:
        if self.place >= len(self._data):
            raise ThriftError("cut off")
        self.place += 1
        return self._data[self.place - 1]

    def _skip(self, count: int) -> None:
        if count > len(self._data) - self.place:
            raise ThriftError("cut off")
        self.place += count

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ThriftError("a number with too many bytes")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
