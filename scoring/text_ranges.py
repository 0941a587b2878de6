"""Splits a CSV or NDJSON file into byte ranges of whole rows, and counts their rows.

The ranges are found in one pass without decoding, because only quotes and line ends matter.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from models.formats.blocks import MAX_LINE_BYTES
from models.formats.csv_decoder import CsvDecoder, delimiter_of, has_comments, without_titles
from models.formats.csv_lines import LineEnds
from models.formats.errors import FormatError
from models.formats.escaped_quotes import ESCAPED
from models.schema import FeatureSchema

READ_BYTES = 1024**2


class CsvHead(NamedTuple):
    """The header of a CSV. stop: the position at which the rows begin."""

    names: list[str]
    delimiter: str
    stop: int


class TextRange(NamedTuple):
    start: int
    stop: int
    rows: int


def csv_head(file: IO[bytes], schema: FeatureSchema) -> CsvHead | None:
    """Read the header of a CSV; None if the file has no header. Raises FormatError.

    `stop` is correct only for UTF-8.
    """
    content = file.read(MAX_LINE_BYTES)
    decoder = CsvDecoder(schema, 1, MAX_LINE_BYTES)
    if has_comments(content, schema):
        raise FormatError(f"remove its lines that begin with {schema.comment!r}, which are comments")
    if schema.escape is not None and ESCAPED.search(content):
        raise FormatError('double the quotes in cells ("") instead of escaping them with a backslash')
    rows_start = len(content) - len(without_titles(content, schema))
    delimiter = delimiter_of(content[rows_start:].partition(b"\n")[0].decode(errors="replace"), schema)
    ends, place = LineEnds(delimiter.encode()), rows_start
    while end := content.find(b"\n", place) + 1:
        complete, place, start = ends.last(content[place:end]), end, place
        if complete and content[start:end].strip():
            break
    for _ in decoder.feed(content[:place] if end and schema.encoding is None else content):
        pass
    if decoder.names is None:
        for _ in decoder.rest():
            pass
    return None if decoder.names is None else CsvHead(decoder.names, delimiter, place if end else len(content))


def csv_ranges(file: IO[bytes], start: int, head: CsvHead, range_bytes: int) -> Iterator[TextRange]:
    """The ranges of a CSV, beginning with the row at `start`. Raises FormatError."""
    delimiter = head.delimiter
    return _ranges(
        file, start, range_bytes, lambda: LineEnds(delimiter.encode()).last, lambda part: csv_rows(part, delimiter)
    )


def ndjson_ranges(file: IO[bytes], start: int, range_bytes: int) -> Iterator[TextRange]:
    """The ranges of an NDJSON file, beginning with the row at `start`. Raises FormatError."""
    if not start and file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
        start = len(codecs.BOM_UTF8)
    return _ranges(file, start, range_bytes, lambda: last_line_end, ndjson_rows)


def _ranges(
    file: IO[bytes],
    start: int,
    range_bytes: int,
    new_scanner: Callable[[], Callable[[bytes], int]],
    count_rows: Callable[[bytes], int],
) -> Iterator[TextRange]:
    """The ranges of a file. new_scanner: creates a function that returns the end of the last complete line in the next
    chunk."""
    file.seek(start)
    scan, stop, rows, unended = new_scanner(), start, 0, b""
    while chunk := file.read(READ_BYTES):
        cut = scan(chunk)
        if not cut:
            unended += chunk
            if len(unended) > MAX_LINE_BYTES:
                raise FormatError(f"a line is longer than {MAX_LINE_BYTES} bytes, or a quote is never closed")
            continue
        rows += count_rows(unended + chunk[:cut])
        stop += len(unended) + cut
        unended = chunk[cut:]
        if stop - start >= range_bytes:
            yield TextRange(start, stop, rows)
            file.seek(stop)
            scan, start, rows, unended = new_scanner(), stop, 0, b""
    if unended:
        rows += count_rows(unended)
        stop += len(unended)
    if stop > start:
        yield TextRange(start, stop, rows)


def last_line_end(chunk: bytes) -> int:
    return chunk.rfind(b"\n") + 1


def ndjson_rows(part: bytes) -> int:
    """The number of rows in complete lines; blank lines are not counted."""
    return sum(1 for line in part.split(b"\n") if line.strip())


def csv_rows(part: bytes, delimiter: str) -> int:
    """The number of rows in complete lines; empty lines are not counted, and a quoted cell may span several lines."""
    if b'"' not in part and part.count(b"\r") == part.count(b"\r\n"):
        return sum(1 for line in part.split(b"\n") if line and line != b"\r")
    text = part.decode(errors="replace")
    try:
        return _parsed_rows(text, delimiter, skips_blanks=True)
    except csv.Error:
        try:
            return _parsed_rows(text, delimiter, skips_blanks=False)
        except csv.Error as error:
            raise FormatError(f"it is not CSV ({error})") from None


def _parsed_rows(text: str, delimiter: str, *, skips_blanks: bool) -> int:
    lines = io.StringIO(text, newline="")
    return sum(1 for row in csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=skips_blanks) if row)
