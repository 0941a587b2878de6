"""CSV to blocks of rows: a header line with the names of the columns, then a line for each row."""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from models.cells import read_cells
from models.columns import Column, ColumnRows
from models.formats.blocks import MOST_LINE, Block, ColumnBlock, RowBlock, repeated, whole
from models.formats.csv_lines import LineEnds
from models.rows import Unreadable
from models.schema import FeatureSchema
from models.text import truncate
from service.errors import BadBody, TooManyRows

DELIMITERS = (",", ";", "\t", "|")
UNUSED = Column(np.empty(0))  # of a column that is not read


class CsvDecoder:
    """UTF-8, with or without a byte order mark. Blank lines are no rows."""

    def __init__(self, schema: FeatureSchema, rows: int, most_bytes: int) -> None:
        self._schema = schema
        self._rows = rows
        self._most_bytes = most_bytes  # of a block
        self._bytes = 0
        self._rest = b""  # what has not ended: a line, or a cell in quotes
        self._ends: LineEnds | None = None  # known with the delimiter, from the first line
        self._lines: list[list[str] | Unreadable] = []
        self._names: list[str] | None = None
        self._delimiter = ","

    def feed(self, piece: bytes) -> Iterator[Block]:
        if self._ends is None:
            piece, self._rest = (self._rest + piece).removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n"), b""
            if b"\n" in piece:
                self._begin(piece)
        cut = 0 if self._ends is None else self._ends.last(piece)
        content = self._rest + piece[:cut] if cut else b""
        self._rest = piece[cut:] if cut else self._rest + piece
        if len(self._rest) > MOST_LINE:
            raise BadBody(f"a line is longer than {MOST_LINE} bytes, or a quote is never closed")
        return self._blocks(content)

    def rest(self) -> Iterator[Block]:
        if self._ends is None:
            self._begin(self._rest)
        yield from self._blocks(self._rest)
        if self._lines:
            yield self._block(self._lines)

    def close(self) -> None: ...

    def _begin(self, content: bytes) -> None:
        self._delimiter = delimiter_of(content.partition(b"\n")[0].decode(errors="replace"), self._schema)
        self._ends = LineEnds(self._delimiter.encode())

    def _blocks(self, content: bytes) -> Iterator[Block]:
        lines = self._read(content)
        if self._names is None and lines:
            self._names = header(lines.pop(0))
        width = len(self._names or ())
        self._lines += [line if len(line) == width else ragged(line, width) for line in lines]
        self._bytes += len(content)
        while len(self._lines) > self._rows or (self._bytes > self._most_bytes and self._lines):
            yield self._block(self._lines[: self._rows])
            del self._lines[: self._rows]
            self._bytes = 0

    def _read(self, content: bytes) -> list[list[str]]:
        """The cells of whole lines."""
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise BadBody(f"it is not UTF-8 text ({error.reason} at byte {error.start} of a piece)") from None
        try:
            lines = [*csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)]
        except csv.Error as error:
            raise BadBody(f"it is not CSV ({error})") from None
        return [line for line in lines if line]

    def _block(self, lines: list[list[str] | Unreadable]) -> Block:
        assert self._names is not None
        full = [line for line in lines if not isinstance(line, Unreadable)]
        columns = self._columns([*zip(*full, strict=True)] or [()] * len(self._names))
        if len(full) == len(lines):
            return ColumnBlock(columns, len(lines))
        rows = iter(ColumnRows(columns, len(full)))
        return RowBlock([line if isinstance(line, Unreadable) else next(rows) for line in lines])

    def _columns(self, cells: Sequence[Sequence[str]]) -> dict[str, Column]:
        assert self._names is not None
        features = self._schema.by_name
        return {
            name: read_cells(self._schema, features[name], column) if name in features else UNUSED
            for name, column in zip(self._names, cells, strict=True)
        }


def read(schema: FeatureSchema, body: bytes, max_rows: int) -> Block:
    """A whole body. Raises BadBody, RequestNotValid or TooManyRows."""
    block = whole(CsvDecoder(schema, max_rows, len(body)), body)
    if block is None:
        raise TooManyRows(body.count(b"\n"), max_rows)
    return block


def delimiter_of(text: str, schema: FeatureSchema) -> str:
    """What separates the cells: under which most of the header's names are the table's."""
    line = io.StringIO(text, newline="").readline()

    def known(delimiter: str) -> int:
        names = {name.strip().strip('"') for name in line.split(delimiter)}
        return len(names & (schema.by_name.keys() | schema.accepted))

    return max(DELIMITERS, key=known)


def header(line: Sequence[str]) -> list[str]:
    names = [name.strip() for name in line]
    if (twice := repeated(names)) is not None:
        raise BadBody(f"its header names {truncate(twice)!r} twice")
    return names


def ragged(line: Sequence[str], width: int) -> Unreadable:
    return Unreadable("wrong_type", f"it has {len(line)} cells, the header has {width}")
