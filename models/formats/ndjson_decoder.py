"""NDJSON to blocks of rows: each line holds one row as a JSON object."""

from collections.abc import Iterator
from typing import Any

from models.formats.blocks import MOST_LINE, Block, RowBlock
from models.rows import MAX_LISTED_ERRORS, Unreadable, ValidatedRows
from models.schema import FeatureSchema
from service.errors import BadBody, BadJson
from service.protocols import native

BOM = b"\xef\xbb\xbf"


class LineBlock:
    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    @property
    def count(self) -> int:
        return len(self.lines)

    def accept(
        self, schema: FeatureSchema, *, skip: bool = False, first_row: int = 0, most: int = MAX_LISTED_ERRORS
    ) -> ValidatedRows:
        rows = schema.accept_lines(self.lines)
        if rows is not None:
            return native.accept(schema, rows)
        return RowBlock([*map(row_of, self.lines)]).accept(schema, skip=skip, first_row=first_row, most=most)


def row_of(line: bytes) -> Any:
    try:
        return native.parse(line)
    except BadJson as error:
        return Unreadable("bad_json", error.detail.replace("the body", "the line"))


class NdjsonDecoder:
    """Blank lines are no rows."""

    def __init__(self, schema: FeatureSchema, rows: int, most_bytes: int) -> None:
        self._rows = rows
        self._most_bytes = most_bytes  # of a block
        self._bytes = 0
        self._lines: list[bytes] = []
        self._rest = b""  # a line that has not ended
        self._begun = False

    def feed(self, piece: bytes) -> Iterator[Block]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > MOST_LINE:
            raise BadBody(f"a line is longer than {MOST_LINE} bytes")
        return self._blocks(lines)

    def rest(self) -> Iterator[Block]:
        yield from self._blocks([self._rest])
        if self._lines:
            yield LineBlock(self._lines)

    def close(self) -> None: ...

    def _blocks(self, lines: list[bytes]) -> Iterator[Block]:
        if lines and not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(BOM)
        self._lines += [stripped for line in lines if (stripped := line.strip())]
        self._bytes += sum(map(len, lines))
        while len(self._lines) > self._rows or (self._bytes > self._most_bytes and self._lines):
            yield LineBlock(self._lines[: self._rows])
            del self._lines[: self._rows]
            self._bytes = 0
