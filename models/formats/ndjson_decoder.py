"""Decodes NDJSON to blocks of rows: each line contains one row as a JSON object."""

from collections.abc import Iterator
from typing import Any

from models import json_text
from models.formats.blocks import MAX_LINE_BYTES, Block
from models.formats.errors import FormatError
from models.repeated_names import mark_repeated_names
from models.rows import (
    MAX_LISTED_ERRORS,
    UndecodableRow,
    ValidatedRows,
    from_valid_rows,
    read_number_rows,
    repeated_field,
    validate_rows,
)
from models.schema import FeatureSchema

BOM = b"\xef\xbb\xbf"


class LineBlock:
    """Lines of NDJSON, which are parsed and validated in one compiled pass if all rows are valid."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    @property
    def count(self) -> int:
        return len(self.lines)

    def validate(
        self, schema: FeatureSchema, *, first_row: int = 0, max_errors: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
        if (read := read_number_rows(schema, b"\n".join(self.lines), b"\n")) is not None:
            return read
        rows = schema.validators.parse_lines(self.lines)
        if rows is not None:
            return from_valid_rows(schema, rows)
        return validate_rows(schema, [*map(parse_line, self.lines)], first_row=first_row, max_errors=max_errors)


def parse_line(line: bytes) -> Any:
    """The JSON value of a line; an `UndecodableRow` if it is not JSON."""
    try:
        row = json_text.parse(line)
    except json_text.JsonError as error:
        return UndecodableRow("bad_json", f"the line is not JSON: {error}")
    return repeated_field(mark_repeated_names(line, row), row)


class NdjsonDecoder:
    """Decodes NDJSON. Blank lines are skipped."""

    def __init__(self, schema: FeatureSchema, block_rows: int, max_bytes: int) -> None:
        """max_bytes: the maximum size of a block."""
        self._block_rows = block_rows
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lines: list[bytes] = []
        self._unended = b""  # the start of a line
        self._begun = False

    def feed(self, chunk: bytes) -> Iterator[Block]:
        *lines, self._unended = (self._unended + chunk).split(b"\n")
        if len(self._unended) > MAX_LINE_BYTES:
            raise FormatError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        return self._blocks(lines)

    def rest(self) -> Iterator[Block]:
        yield from self._blocks([self._unended])
        if self._lines:
            yield LineBlock(self._lines)

    def close(self) -> None: ...

    def _blocks(self, lines: list[bytes]) -> Iterator[Block]:
        if lines and not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(BOM)
        self._lines += [stripped for line in lines if (stripped := line.strip())]
        self._bytes += sum(map(len, lines))
        while len(self._lines) > self._block_rows or (self._bytes > self._max_bytes and self._lines):
            yield LineBlock(self._lines[: self._block_rows])
            del self._lines[: self._block_rows]
            self._bytes = 0
