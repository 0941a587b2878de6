"""A CSV file as a `RawTable` of text columns: its lines above the header, delimiter, header, and rows."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from models.formats.escaped_quotes import mark_escaped
from models.visible_text import visible_text
from training import csv_format
from training.config import DataOptions
from training.csv_end import without_end_mark
from training.csv_preamble import CommentBlanks, table_start
from training.csv_rows import BLOCK_BYTES, CsvRows
from training.encodings import TextEncoding
from training.errors import UsageError
from training.raw_table import BatchSink, RawTable, check_names


class CsvHeader(NamedTuple):
    """The header of a CSV, and what the first lines show about its format.

    lines: number of lines up to the header's end, without skipped lines. trailing: see `CsvRows`. rows: the rows below
    the header. escaped: whether backslashes escape quotes.
    """

    names: list[str]
    delimiter: str
    lines: int
    trailing: bool
    notices: list[str]
    rows: Iterable[bytes]
    escaped: bool


def read_csv(
    chunks: Iterable[bytes],
    encoding: TextEncoding,
    where: str,
    options: DataOptions,
    sink: BatchSink,
    block_bytes: int = BLOCK_BYTES,
) -> RawTable:
    """Read a CSV file in UTF-8. chunks: each ends at the end of a line. sink: receives the rows. Raises UsageError."""
    start = table_start(*first_chunk(without_end_mark(chunks)), where, options.skip_rows)
    comments = CommentBlanks(options.comment)
    header = read_header(start.delimiter, comments.blanked(start.chunks), where, options)
    parser = CsvRows(
        header.delimiter, len(header.names), where, start.skipped + header.lines, header.trailing, block_bytes
    )
    for batch in parser.batches(header.rows):
        sink.add(batch.rename_columns(header.names))
    if parser.rows == 0:
        raise UsageError(f"{where} has column names but no rows")
    origin = {"format": "CSV", "encoding": encoding.name, "delimiter": header.delimiter, "skipped_lines": start.skipped}
    return RawTable(
        header.names,
        sink.columns(),
        typed=False,
        rows=parser.rows,
        notices=encoding.notices + header.notices + parser.notices,
        origin=origin,
        delimiter=header.delimiter,
        encoding=encoding.stored,
        skip_rows=options.skip_rows or None,
        comment=options.comment if comments.found else None,
        footer_lines=parser.footer_lines or None,
        escape="\\" if header.escaped else None,
    )


def first_chunk(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first chunk, long enough for all decisions based on the first lines, and the other chunks."""
    rest = iter(chunks)
    first = b""
    while len(first) <= csv_format.HEAD_BYTES and (chunk := next(rest, None)) is not None:
        first = first + chunk if first else chunk
    return first, rest


def read_header(declared: str | None, chunks: Iterator[bytes], where: str, options: DataOptions) -> CsvHeader:
    """Read the header. declared: delimiter of a line above it. chunks: from the header on. Raises UsageError."""
    first = next(chunks)
    head = csv_format.head_of(first)
    notices = []
    known = csv_format.parse_delimiter(options.delimiter) if options.delimiter is not None else declared
    escaped = csv_format.has_escaped_quotes(head, known)
    if escaped:
        head = mark_escaped(head.encode()).decode()
        notices.append('quotes in cells are escaped by backslashes (\\")')
    if options.delimiter is not None:
        delimiter = csv_format.parse_delimiter(options.delimiter)
    elif declared is not None:
        delimiter = declared
        notices.append(f"the first line declares the delimiter {delimiter!r}")
    else:
        delimiter = csv_format.detect_delimiter(head, where)
        if delimiter != ",":
            notices.append(f"the detected delimiter is {delimiter!r} (--delimiter)")
    blanks = csv_format.has_blanks_before_quotes(head, delimiter)
    if blanks or escaped:
        dialect = csv_format.QuotedCells(delimiter, blanks, escaped)
        first, chunks = first_chunk(csv_format.with_plain_quotes(chain([first], chunks), dialect, where))
        head = csv_format.head_of(first)
    if blanks:
        notices.append("blanks before cells in quotes are removed")
    header, lines, offset = csv_format.read_header(head, delimiter, where)
    names = [visible_text(name.strip()) for name in header]
    try:
        check_names(names, where)
    except UsageError as error:
        hint = csv_format.header_hint(names) or csv_format.title_hint(names, head, delimiter)
        raise UsageError(f"{error}{hint}") from None
    csv_format.check_header_is_not_data(names, head, delimiter, where)
    if [name.strip() for name in names] != [name.strip() for name in header]:
        notices.append("invisible characters in column names are removed")
    elif names != header:
        notices.append("blanks around column names and cells are removed")
    trailing = csv_format.regularity(head, delimiter).trailing > 0.5
    return CsvHeader(names, delimiter, lines, trailing, notices, chain([first[offset:]], chunks), escaped)
