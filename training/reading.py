"""Reads a CSV or Parquet file, or standard input, into a `RawTable`."""

import gzip
import hashlib
import re
import sys
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from models.text import did_you_mean, truncate
from training import csv_format
from training.config import DataOptions, check_seed
from training.errors import UsageError

BLOCK_BYTES = 1 << 24  # that Arrow parses at once; no line may be longer
BLANK = b" \r\n\t\0\xef\xbb\xbf\xff\xfe"


@dataclass(frozen=True)
class RawTable:
    """A table as it was read, before any type inference.

    columns: an Arrow array for each name; from a CSV (`typed` is false) all of them are text.
    """

    names: list[str]
    columns: list[Any]
    typed: bool
    rows: int
    fingerprint: str  # SHA-256 of the file
    notices: list[str]
    delimiter: str | None = None  # between the cells of a CSV
    categorical: frozenset[str] = frozenset()  # columns that pandas stored as categorical


def read_table(options: DataOptions) -> RawTable:
    """Read the table that the options name. Raises UsageError."""
    check_seed("--seed", options.seed)
    content = _read_bytes(options.data)
    fingerprint = hashlib.sha256(content).hexdigest()
    where = "standard input" if options.data == "-" else options.data
    if not content:
        raise UsageError(f"{where} is empty")
    content = _decompress(content, where)
    if not content.strip(BLANK):
        raise UsageError(f"{where} is empty")
    if content[:4] == b"PAR1":
        return _read_parquet(content, where, fingerprint)
    return _read_csv(content, where, fingerprint, options)


def _read_bytes(data: str) -> bytes:
    if not data:
        raise UsageError("no table: say --data FILE, or the name of a bundled data set")
    if data == "-":
        return sys.stdin.buffer.read()
    path = Path(data)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"no file {data}{did_you_mean(path.name, siblings)}") from None
    except OSError as error:
        raise UsageError(f"{data} cannot be read: {error.strerror or error}") from None


def _decompress(content: bytes, where: str) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        raise UsageError(f"{where} is a gzip file that is cut off or damaged") from None


def _read_parquet(content: bytes, where: str, fingerprint: str) -> RawTable:
    try:
        _check_names(arrow_parquet.ParquetFile(pa.BufferReader(content)).schema_arrow.names, where)
        table = arrow_parquet.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{where} is a Parquet file that cannot be read: {truncate(str(error), 200)}") from None
    names = list(table.column_names)
    if table.num_rows == 0:
        raise UsageError(f"{where} has no rows")
    pandas_columns = (table.schema.pandas_metadata or {}).get("columns", [])
    categorical = frozenset(column["name"] for column in pandas_columns if column["pandas_type"] == "categorical")
    return RawTable(names, list(table.columns), True, table.num_rows, fingerprint, notices=[], categorical=categorical)


def _read_csv(content: bytes, where: str, fingerprint: str, options: DataOptions) -> RawTable:
    content, encoding = csv_format.decode(content, where)
    notices = [] if encoding.startswith("utf-8") else [f"{where} is read as {encoding}"]
    head = csv_format.head_of(content)
    if options.delimiter is not None:
        delimiter = csv_format.parse_delimiter(options.delimiter)
    else:
        delimiter = csv_format.detect_delimiter(head, where)
        if delimiter != ",":
            notices.append(f"the cells are taken to be separated by {delimiter!r} (--delimiter)")
    header, lines, offset = csv_format.read_header(head, delimiter, where)
    names = [name.strip() for name in header]
    _check_names(names, where)
    csv_format.check_header_is_not_data(names, where)
    if names != header:
        notices.append("blanks around column names and cells are removed")
    body = _parse_rows(content, offset, len(names), delimiter, where, lines)
    if body.num_rows == 0:
        raise UsageError(f"{where} has column names but no rows")
    return RawTable(names, list(body.columns), False, body.num_rows, fingerprint, notices, delimiter=delimiter)


def _check_names(names: list[str], where: str) -> None:
    """Raises UsageError where several columns have the same name."""
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        what = f"of the name {truncate(name)!r}" if name else "without a name"
        raise UsageError(f"{where} has {count} columns {what}")


def _parse_rows(content: bytes, offset: int, width: int, delimiter: str, where: str, header_lines: int) -> Any:
    """An Arrow table of text columns. Raises UsageError for a line with too few or too many cells."""
    columns = [str(index) for index in range(width)]
    body = pa.py_buffer(content).slice(offset)
    if not body.size:
        return pa.table({column: pa.array([], pa.large_string()) for column in columns})
    try:
        return arrow_csv.read_csv(
            pa.BufferReader(body),
            # One thread: with several, Arrow does not report the number of an invalid row.
            read_options=arrow_csv.ReadOptions(column_names=columns, use_threads=False, block_size=BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        _raise_csv_error(str(error), where, header_lines)


def _raise_csv_error(message: str, where: str, header_lines: int) -> NoReturn:
    ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", message)
    if not ragged:
        raise UsageError(f"{where} cannot be read as CSV: {truncate(message, 200)}") from None
    row, expected, found = map(int, ragged.groups())
    raise UsageError(
        f"row {row} below the header of {where} (line {row + header_lines}, if none is blank) has {found} cells, "
        f"the header has {expected}"
    ) from None
