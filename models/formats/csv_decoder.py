"""Decodes CSV to blocks of rows: a header line with the names of the columns, then a line for each row."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.columns import UNREAD, Column, ColumnRows
from models.formats.blocks import MAX_LINE_BYTES, Block, ColumnBlock, OuterBlock, RowBlock, first_repeated
from models.formats.csv_extra_lines import CommentLines, TitleLines, first_line
from models.formats.csv_lines import LineEnds
from models.formats.errors import FormatError
from models.formats.escaped_quotes import EscapedQuotes, restore_escaped
from models.formats.index_columns import is_unnamed_index
from models.formats.text_encoding import Utf8Converter
from models.rows import UndecodableRow, is_unknown
from models.schema import FeatureSchema
from models.text import counted, truncate
from models.visible_text import visible_text

DELIMITERS = (",", ";", "\t", "|")
END_OF_FILE = b"\x1a"  # ^Z, which DOS programs write at the end of a file


@dataclass(frozen=True)
class KeptBlock(OuterBlock):
    """A block with the texts of columns to keep, `kept`; None in a row that could not be decoded."""

    kept: Mapping[str, Sequence[str | None]]


class ShortRow(UndecodableRow):
    """A line with fewer cells than the header."""


class CsvDecoder:
    """Decodes CSV in UTF-8, with or without a byte order mark, or in the encoding of the training file.

    Blank lines are ignored, and so are titles, comments and a footer like those of the training file. A line may end
    with a delimiter, and the body with the character ^Z.
    """

    def __init__(
        self,
        schema: FeatureSchema,
        block_rows: int,
        max_bytes: int,
        declared_encoding: str | None = None,
        *,
        keep: Sequence[str] = (),
        ignore_unknown: bool = False,
    ) -> None:
        """max_bytes: the maximum size of a block. declared_encoding: the encoding that the client declares. keep:
        columns whose texts are kept, in `KeptBlock`s.

        ignore_unknown: leave out columns that are not in the schema.
        """
        encoding = declared_encoding or schema.encoding
        self._to_utf8 = None if encoding is None else Utf8Converter(encoding, declared=declared_encoding is not None)
        self._escapes = None if schema.escape is None else EscapedQuotes()
        self._footer_lines = schema.footer_lines or 0
        self._comments = None if schema.comment is None else CommentLines(schema.comment)
        self._titles = TitleLines(schema.skip_rows or 0, lambda line: count_known_names(decode_line(line), schema))
        self._schema = schema
        self._block_rows = block_rows
        self._max_bytes = max_bytes
        self._bytes = 0
        self._unended = b""  # the start of an incomplete line
        self._ends: LineEnds | None = None  # known after the first line
        self._lines: list[list[str] | UndecodableRow] = []
        self._names: list[str] | None = None
        self._delimiter = ","
        self._first = 0  # the first column that is not an index
        self._keep = keep
        self._ignore_unknown = ignore_unknown

    @property
    def names(self) -> list[str] | None:
        """The column names in the header; None until the header is complete."""
        return self._names

    def feed(self, chunk: bytes) -> Iterator[Block]:
        return self._feed(chunk if self._to_utf8 is None else self._to_utf8.feed(chunk))

    def _feed(self, chunk: bytes, *, final: bool = False) -> Iterator[Block]:
        if self._escapes is not None:
            chunk = self._escapes.feed(chunk, final=final)
        if self._comments is not None:
            chunk = self._comments.feed(chunk, final=final)
        if self._ends is None:
            content = self._titles.feed(chunk, final=final)
            if content is None:
                return iter(())
            chunk = content
            self._delimiter = delimiter_of(decode_line(first_line(chunk)), self._schema)
            self._ends = LineEnds(self._delimiter.encode())
        cut = self._ends.last(chunk)
        content = self._unended + chunk[:cut] if cut else b""
        self._unended = chunk[cut:] if cut else self._unended + chunk
        if len(self._unended) > MAX_LINE_BYTES:
            raise FormatError(f"a line is longer than {MAX_LINE_BYTES} bytes, or a quote is never closed")
        return self._blocks(content)

    def rest(self) -> Iterator[Block]:
        chunk = b"" if self._to_utf8 is None else self._to_utf8.feed(b"", final=True)
        yield from self._feed(chunk, final=True)
        yield from self._blocks(self._unended.rstrip(END_OF_FILE))
        self._leave_out_footer()
        for start in range(0, len(self._lines), self._block_rows):
            yield self._block(self._lines[start : start + self._block_rows])

    def close(self) -> None: ...

    def _blocks(self, content: bytes) -> Iterator[Block]:
        lines = self._read(content)
        if self._names is None and lines:
            self._names = header_names(lines.pop(0))
            self._first = int(is_unnamed_index(self._schema, self._names))
            for name in self._keep:
                if name not in self._names:
                    raise FormatError(f"its header has no column {truncate(name)!r}, which is to be kept")
        width = len(self._names or ())
        self._lines += [line if len(line) == width else fit_to_width(line, width) for line in lines]
        self._bytes += len(content)
        while (ready := len(self._lines) - self._footer_lines) > 0:  # the others may be the footer
            if ready <= self._block_rows and self._bytes <= self._max_bytes:
                break
            count = min(ready, self._block_rows)
            yield self._block(self._lines[:count])
            del self._lines[:count]
            self._bytes = 0

    def _leave_out_footer(self) -> None:
        """Leave out lines with fewer cells at the end, at most as many as the training file has."""
        for _ in range(self._footer_lines):
            if self._lines and isinstance(self._lines[-1], ShortRow):
                del self._lines[-1]

    def _read(self, content: bytes) -> list[list[str]]:
        """Parse the cells of whole lines."""
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"it is not UTF-8 text ({error.reason} at byte {error.start} of a chunk)") from None
        try:
            lines = self._parse(text, skips_blanks=True)
        except csv.Error:
            try:
                lines = self._parse(text, skips_blanks=False)
            except csv.Error as error:
                raise FormatError(f"it is not CSV ({error})") from None
        if self._escapes is not None:
            lines = [[*map(restore_escaped, line)] for line in lines]
        if END_OF_FILE in content:
            lines = [line for line in lines if "".join(line).strip("\x1a")]
        return [line for line in lines if line]

    def _parse(self, text: str, *, skips_blanks: bool) -> list[list[str]]:
        """Parse CSV text. skips_blanks: a quote after a blank opens a cell, as in `"a", "b"`."""
        lines = io.StringIO(text, newline="")
        return [*csv.reader(lines, delimiter=self._delimiter, strict=True, skipinitialspace=skips_blanks)]

    def _block(self, lines: list[list[str] | UndecodableRow]) -> Block:
        assert self._names is not None
        full = [line for line in lines if not isinstance(line, UndecodableRow)]
        columns = self._columns([*zip(*full, strict=True)] or [()] * len(self._names))
        if len(full) == len(lines):
            return self._with_kept(ColumnBlock(columns, len(lines)), lines)
        rows = iter(ColumnRows(columns, len(full)))
        return self._with_kept(
            RowBlock([line if isinstance(line, UndecodableRow) else next(rows) for line in lines]), lines
        )

    def _with_kept(self, block: Block, lines: list[list[str] | UndecodableRow]) -> Block:
        if not self._keep:
            return block
        assert self._names is not None
        places = {name: self._names.index(name) for name in self._keep}
        return KeptBlock(
            block,
            {
                name: [None if isinstance(line, UndecodableRow) else line[place] for line in lines]
                for name, place in places.items()
            },
        )

    def _columns(self, cells: Sequence[Sequence[str]]) -> dict[str, Column]:
        assert self._names is not None
        readers = self._schema.readers
        return {
            name: readers[name].read_cells(column) if name in readers else UNREAD
            for name, column in [*zip(self._names, cells, strict=True)][self._first :]
            if not self._is_skipped(name)
        }

    def _is_skipped(self, name: str) -> bool:
        return (self._ignore_unknown or name in self._keep) and is_unknown(self._schema, name)


def without_extra_lines(body: bytes, schema: FeatureSchema) -> bytes:
    """A whole CSV without titles and comments like those of the training file."""
    if schema.comment is not None:
        body = CommentLines(schema.comment).feed(body, final=True)
    return body if schema.skip_rows is None else without_titles(body, schema)


def without_titles(body: bytes, schema: FeatureSchema) -> bytes:
    """The content of a CSV, starting at its header."""
    titles = TitleLines(schema.skip_rows or 0, lambda line: count_known_names(decode_line(line), schema))
    return titles.feed(body, final=True) or b""


def has_comments(body: bytes, schema: FeatureSchema) -> bool:
    """Whether the first lines of a CSV are comments like those of the training file."""
    return schema.comment is not None and CommentLines(schema.comment).pattern.search(body) is not None


def delimiter_of(text: str, schema: FeatureSchema) -> str:
    """The delimiter with which the header contains the most column names of the table."""
    return max(DELIMITERS, key=lambda delimiter: count_names(delimiter, text, schema))


def count_known_names(text: str, schema: FeatureSchema) -> int:
    """The number of the table's column names that the first line contains."""
    return max(count_names(delimiter, text, schema) for delimiter in DELIMITERS)


def count_names(delimiter: str, text: str, schema: FeatureSchema) -> int:
    """The number of the table's column names that the first line contains if this is its delimiter."""
    line = io.StringIO(text, newline="").readline()
    names = {visible_text(name.strip().strip('"').strip()) for name in line.split(delimiter)}
    return len(names & (schema.by_name.keys() | schema.unused))


def decode_line(line: bytes) -> str:
    return line.decode(errors="replace")


def header_names(line: Sequence[str]) -> list[str]:
    names = [visible_text(name.strip()) for name in line]
    if (name := first_repeated(names)) is not None:
        raise FormatError(f"its header contains {truncate(name)!r} twice")
    return names


def fit_to_width(line: list[str], width: int) -> list[str] | UndecodableRow:
    """The line, without the empty cell after a trailing delimiter."""
    return line[:width] if len(line) == width + 1 and not line[-1].strip() else ragged_row(line, width)


def ragged_row(line: Sequence[str], width: int) -> UndecodableRow:
    kind = ShortRow if len(line) < width else UndecodableRow
    return kind("wrong_type", f"it has {counted(len(line), 'cell')}, the header has {width}")
