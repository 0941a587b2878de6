"""CSV: a header line with the names of the columns, then a line for each row. Cells are read as training reads them."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from models.cells import read_cells
from models.columns import Column, ColumnRows
from models.outputs import Answers
from models.rows import Unreadable
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import class_key, short
from service.errors import BadBody, RequestError, TooManyRows
from service.protocols.blocks import (
    ALL,
    MOST_LINE,
    Block,
    ColumnBlock,
    RowBlock,
    by_row,
    place,
    repeated,
    sentence,
    stopped,
    whole,
)
from service.protocols.native import Accepted, numbers

DELIMITERS = (",", ";", "\t", "|")
UNUSED = Column(np.empty(0))  # of a column that is not read


class Decoder:
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
    block = whole(Decoder(schema, max_rows, len(body)), body)
    if block is None:
        raise TooManyRows(body.count(b"\n"), max_rows)
    return block


class LineEnds:
    """Where lines end in a text that comes in pieces, as `csv` reads it: a quote opens a cell only as its first byte,
    elsewhere (`5" pipe`) it is a byte like others. Each byte is looked at a few times at most."""

    def __init__(self, delimiter: bytes) -> None:
        self._before = b"\r\n" + delimiter  # after these a quote opens a cell
        self._opening = re.compile(b'(?<![^%s])"' % re.escape(self._before))
        self._follows = np.zeros(256, dtype=bool)  # bytes that a quote which opens or closes may follow
        self._follows[[*self._before, *b'"']] = True  # a doubled one closes and opens again
        self._quoted = False  # whether the text so far ends inside of quotes
        self._fresh = True  # whether a quote that comes next opens

    def last(self, piece: bytes) -> int:
        """Where the last line of the next piece ends that is no line inside of a cell in quotes, 0 where none does."""
        if not piece:
            return 0
        if b'"' not in piece:
            self._fresh = piece[-1] in self._before
            return 0 if self._quoted else piece.rfind(b"\n") + 1
        piece = (b"\n" if self._fresh else b"x") + piece  # stands for what came before
        return max((self._by_count if self._only_marks(piece) else self._by_cell)(piece) - 1, 0)

    def _only_marks(self, piece: bytes) -> bool:
        """Whether each quote opens or closes a cell."""
        content = np.frombuffer(piece, dtype=np.uint8)
        opening = np.flatnonzero(content == ord('"'))[self._quoted :: 2]
        return bool(self._follows[content[opening - 1]].all())

    def _by_count(self, piece: bytes) -> int:
        """Where all quotes are marks: a line ends where the number of those before it is even."""
        quotes, end = piece.count(b'"') + self._quoted, len(piece)
        self._quoted = quotes % 2 == 1
        self._fresh = piece[-1] in self._before or piece.endswith(b'"')
        while True:
            line_end = piece.rfind(b"\n", 1, end) + 1
            quotes -= piece.count(b'"', line_end, end)
            if not line_end or quotes % 2 == 0:
                return line_end
            end = piece.rfind(b'"', 0, line_end)  # what lies after it is inside of quotes
            if end < 0:
                return 0
            quotes -= 1

    def _by_cell(self, piece: bytes) -> int:
        """From one cell in quotes to the next."""
        place, line_end = 1, 0
        while True:
            if self._quoted:
                if not (place := piece.find(b'"', place) + 1):
                    return line_end
                if piece.startswith(b'"', place):  # doubled
                    place += 1
                    continue
                self._quoted = False
            opened = self._opening.search(piece, place)
            line_end = piece.rfind(b"\n", place, opened.start() if opened else len(piece)) + 1 or line_end
            if opened is None:
                self._fresh = piece[-1] in self._before or place == len(piece)
                return line_end
            self._quoted, place = True, opened.end()


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
        raise BadBody(f"its header names {short(twice)!r} twice")
    return names


def ragged(line: Sequence[str], width: int) -> Unreadable:
    return Unreadable("wrong_type", f"it has {len(line)} cells, the header has {width}")


# Answers


def written(value: object) -> str:
    """One cell."""
    text = class_key(value)  # type: ignore[arg-type]  # str() of whatever it is
    return '"' + text.replace('"', '""') + '"' if set(text) & set('",\r\n') or text != text.strip() else text


class Encoder:
    """One line for each row of the request, in order: `value`, or `label` and a `probability_…` for each class, then
    `warnings` and `error`. Where the answer ends too early, the `error` of its last line begins with `stopped:`."""

    kind: ClassVar[bytes] = b"text/csv; charset=utf-8"
    told: ClassVar[int] = ALL

    def __init__(self, model: TabularModel) -> None:
        classes = model.schema.classes
        self._labels = None if classes is None else [written(label).encode() + b"," for label in classes]
        names = ["value"] if classes is None else ["label", *(f"probability_{class_key(label)}" for label in classes)]
        self._names = [*names, "warnings", "error"]

    def head(self) -> bytes:
        return ",".join(map(written, self._names)).encode() + b"\n"

    def block(self, accepted: Accepted, answers: Answers, first_row: int) -> bytes:
        lines = self._lines(answers)
        if not accepted.warnings and accepted.valid is None:
            return b"".join([line + b",,\n" for line in lines])
        said = {row: written(sentence(warnings)).encode() for row, warnings in accepted.warnings.items()}
        written_lines: list[bytes] = [b""] * accepted.count
        for row, line in enumerate(lines):
            written_lines[place(accepted, row)] = b"%s,%s,\n" % (line, said.get(row, b""))
        for row, errors in by_row(accepted, first_row).items():
            written_lines[row] = self._without_answer(sentence(errors))
        return b"".join(written_lines)

    def _lines(self, answers: Answers) -> list[bytes]:
        if not len(answers):
            return []
        if self._labels is None:
            return numbers(answers.reshape(-1)).split(b",")
        texts = numbers(answers)[1:-1].split(b"],[")
        return [self._labels[best] + text for best, text in zip(answers.argmax(axis=1).tolist(), texts, strict=True)]

    def _without_answer(self, error: str) -> bytes:
        return b"," * (len(self._names) - 1) + written(error).encode() + b"\n"

    def stop(self, error: RequestError) -> bytes:
        return self._without_answer(stopped(error))

    def end(self) -> bytes:
        return b""
