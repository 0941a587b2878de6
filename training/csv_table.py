"""A CSV file as a `RawTable` of text columns; pyarrow parses the rows."""

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.csv as arrow_csv

from models.text import truncate
from training import csv_format
from training.config import DataOptions
from training.csv_preamble import table_lines
from training.encodings import DecodedText
from training.errors import UsageError
from training.raw_table import RawTable, check_names

BLOCK_BYTES = 1 << 24  # that Arrow parses at once; no line may be longer
MAX_FOOTER_LINES = 5


def read_csv(text: DecodedText, where: str, options: DataOptions) -> RawTable:
    """Read a CSV file. Raises UsageError."""
    lines = table_lines(text.content, where, options.skip_rows, options.comment)
    head = csv_format.head_of(lines.content)
    notices = [*text.notices]
    if options.delimiter is not None:
        delimiter = csv_format.parse_delimiter(options.delimiter)
    elif lines.delimiter is not None:
        delimiter = lines.delimiter
        notices.append(f"the first line says that cells are separated by {delimiter!r}")
    else:
        delimiter = csv_format.detect_delimiter(head, where)
        if delimiter != ",":
            notices.append(f"the cells are taken to be separated by {delimiter!r} (--delimiter)")
    content = lines.content
    if csv_format.has_blanks_before_quotes(head, delimiter):
        content = csv_format.remove_blanks_before_quotes(content, delimiter, where)
        head = csv_format.head_of(content)
        notices.append("blanks before cells in quotes are removed")
    header, header_lines, offset = csv_format.read_header(head, delimiter, where)
    names = [name.strip() for name in header]
    try:
        check_names(names, where)
    except UsageError as error:
        raise UsageError(f"{error}{csv_format.header_hint(names)}") from None
    csv_format.check_header_is_not_data(names, head, delimiter, where)
    if names != header:
        notices.append("blanks around column names and cells are removed")
    trailing = csv_format.regularity(head, delimiter).trailing > 0.5
    parser = _Parser(delimiter, len(names), where, lines.skipped + header_lines, trailing)
    body = parser.parse(content, offset)
    if body.num_rows == 0:
        raise UsageError(f"{where} has column names but no rows")
    origin = {"format": "CSV", "encoding": text.encoding, "delimiter": delimiter, "skipped_lines": lines.skipped}
    columns = body.columns[: len(names)]
    return RawTable(
        names,
        columns,
        typed=False,
        rows=body.num_rows,
        notices=notices + parser.notices,
        origin=origin,
        delimiter=delimiter,
        encoding=text.stored_encoding,
        skip_rows=options.skip_rows or None,
        comment=lines.comment,
    )


@dataclass
class _Parser:
    """Rows of as many cells as the header has; a few shorter lines at the end are left out.

    lines: up to the header's end. trailing: whether each row ends with a delimiter, after which there is no cell.
    """

    delimiter: str
    width: int
    where: str
    lines: int
    trailing: bool
    notices: list[str] = field(default_factory=list)
    _ragged: list[Any] = field(default_factory=list)

    def parse(self, content: bytes, offset: int) -> Any:
        """An Arrow table of text columns. Raises UsageError for a line with too few or too many cells."""
        columns = [str(index) for index in range(self.width + self.trailing)]
        body = pa.py_buffer(content).slice(offset)
        if not body.size:
            return pa.table({column: pa.array([], pa.large_string()) for column in columns})
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(body),
                # One thread: with several, Arrow does not report the number of an invalid row.
                read_options=arrow_csv.ReadOptions(column_names=columns, use_threads=False, block_size=BLOCK_BYTES),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=self._note_ragged
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.large_string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowException as error:
            self._raise_error(str(error))
        self._check_footer(table.num_rows)
        self._check_trailing(table)
        return table

    def _note_ragged(self, row: Any) -> str:
        self._ragged.append(row)
        return "skip" if len(self._ragged) <= MAX_FOOTER_LINES else "error"

    def _check_footer(self, rows: int) -> None:
        """Lines with fewer cells are a footer if no row follows."""
        if not self._ragged:
            return
        first, count = self._ragged[0], len(self._ragged)
        at_end = first.number > rows and rows > count
        if not at_end or any(row.actual_columns >= row.expected_columns for row in self._ragged):
            self._raise_ragged(first.number, first.actual_columns)
        self.notices.append(
            f"the last {count} lines are left out, they have fewer cells than the header: {truncate(first.text, 60)!r}"
            if count > 1
            else f"the last line is left out, it has fewer cells than the header: {truncate(first.text, 60)!r}"
        )

    def _check_trailing(self, table: Any) -> None:
        if not self.trailing:
            return
        cells = table.column(self.width).unique().to_pylist()
        filled = next((cell for cell in cells if cell.strip()), None)
        if filled is not None:
            raise UsageError(
                f"most rows of {self.where} end with a {self.delimiter!r} after which no cell follows, but one has "
                f"{truncate(filled)!r} there; the header has {self.width} cells"
            )
        self.notices.append(f"each row ends with a {self.delimiter!r}: the empty cell after it is left out")

    def _raise_error(self, message: str) -> NoReturn:
        if self._ragged:
            first = self._ragged[0]
            self._raise_ragged(first.number, first.actual_columns)
        if "straddling object" in message or "quoted" in message:
            message = f"a line is longer than {BLOCK_BYTES:,} bytes, or a quote is never closed"
        raise UsageError(
            f"{self.where} cannot be read as CSV: {truncate(re.sub(r'^.*?: ', '', message), 200)}"
        ) from None

    def _raise_ragged(self, row: int, found: int) -> NoReturn:
        raise UsageError(
            f"row {row} below the header of {self.where} (line {row + self.lines}, if none is blank) "
            f"has {found} cells, the header has {self.width}"
        ) from None
