"""A CSV file as a `RawTable` of text columns: its lines above the header, delimiter, header, and rows."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from training import csv_format
from training.config import DataOptions
from training.csv_preamble import CommentBlanks, table_start
from training.csv_rows import BLOCK_BYTES, CsvRows
from training.encodings import TextEncoding
from training.errors import UsageError
from training.raw_table import BatchSink, RawTable, check_names


class CsvHeader(NamedTuple):
    """The header of a CSV, and what the first lines show about its format.

    lines: number of lines up to the header's end, without skipped lines. trailing: see `CsvRows`. rows: the rows below
    the header.
    """

    names: list[str]
    delimiter: str
    lines: int
    trailing: bool
    notices: list[str]
    rows: Iterable[bytes]


def read_csv(
    chunks: Iterable[bytes],
    encoding: TextEncoding,
    where: str,
    options: DataOptions,
    sink: BatchSink,
    block_bytes: int = BLOCK_BYTES,
) -> RawTable:
    """Read a CSV file in UTF-8. chunks: each ends at the end of a line. sink: receives the rows. Raises UsageError."""
    start = table_start(*first_chunk(chunks), where, options.skip_rows)
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
    if options.delimiter is not None:
        delimiter = csv_format.parse_delimiter(options.delimiter)
    elif declared is not None:
        delimiter = declared
        notices.append(f"the first line declares the delimiter {delimiter!r}")
    else:
        delimiter = csv_format.detect_delimiter(head, where)
        if delimiter != ",":
            notices.append(f"the detected delimiter is {delimiter!r} (--delimiter)")
    if csv_format.has_blanks_before_quotes(head, delimiter):
        first, chunks = first_chunk(csv_format.without_blanks_before_quotes(chain([first], chunks), delimiter, where))
        head = csv_format.head_of(first)
        notices.append("blanks before cells in quotes are removed")
    header, lines, offset = csv_format.read_header(head, delimiter, where)
    names = [name.strip() for name in header]
    try:
        check_names(names, where)
    except UsageError as error:
        hint = csv_format.header_hint(names) or csv_format.title_hint(names, head, delimiter)
        raise UsageError(f"{error}{hint}") from None
    csv_format.check_header_is_not_data(names, head, delimiter, where)
    if names != header:
        notices.append("blanks around column names and cells are removed")
    trailing = csv_format.regularity(head, delimiter).trailing > 0.5
    return CsvHeader(names, delimiter, lines, trailing, notices, chain([first[offset:]], chunks))
