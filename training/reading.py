"""Reads a table into a `RawTable`; detects its format from the content. Large tables are read in batches."""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

from training import arrow_tables, captured_data, csv_table, encodings, excel, file_content, json_tables
from training.config import DataOptions, check_seed
from training.errors import UsageError
from training.raw_table import MemoryBatches, RawTable
from training.streaming.database_table import parse_query, read_database
from training.streaming.large_reading import read_large
from training.table_inputs import TableFile, input_files
from training.work_progress import WorkProgress

LARGE_BYTES = 1 << 25  # larger files are read in batches; reading in memory takes up to 20 times their size
COMPRESSED = 8  # assumed expansion of a compressed file


def read_table(options: DataOptions, encoding: str | None = None) -> RawTable:
    """Read the table that the options name. encoding: the encoding in `--schema`, for text that is not UTF-8.

    Raises UsageError.
    """
    check_seed("--seed", options.seed)
    if not options.data:
        raise UsageError("no table: use --data FILE, or the name of a bundled data set")
    if options.data == "-":
        return read_content(sys.stdin.buffer.read(), "standard input", options, encoding)
    if (query := parse_query(options.data)) is not None:
        return read_database(query)
    if captured_data.is_captured(options.data):
        return captured_data.read_captured(options)
    files = input_files(options.data)
    if len(files) == 1 and files[0].local and not is_large(files[0]):
        with files[0].open() as file:
            content = file.read()
        return read_content(content, files[0].name, options, encoding)
    progress = WorkProgress("reading", sum(file.size for file in files), "B")
    before = dict(zip(files, accumulate((file.size for file in files), initial=0), strict=False))

    def on_read(file: TableFile) -> Callable[[int], None]:
        return lambda end: progress.show(before[file] + end)

    def read_whole(content: bytes) -> RawTable:
        return _read(content, options.data, options, encoding)

    try:
        return read_large(files, options, encoding, read_whole, on_read)
    finally:
        progress.close()


def is_large(file: TableFile) -> bool:
    """Whether a file is read in batches. Parquet is compressed, too. A pipe has no size and can be read only once."""
    if file.size * COMPRESSED <= LARGE_BYTES:
        return False
    with file.open() as opened:
        start = opened.read(8)
    plain = file_content.compression_of(start) is None and not start.startswith((file_content.ZIP_START, b"PAR1"))
    return file.size * (1 if plain else COMPRESSED) > LARGE_BYTES


def read_content(content: bytes, where: str, options: DataOptions, encoding: str | None) -> RawTable:
    """Read a file in memory. Raises UsageError."""
    fingerprint = hashlib.sha256(content).hexdigest()
    if not content:
        raise UsageError(f"{where} is empty")
    content, compression = file_content.decompress(content, where)
    if not content.strip(file_content.BLANK):
        raise UsageError(f"{where} is empty")
    table = _read(content, where, options, encoding)
    origin = table.origin | ({"compression": compression} if compression else {})
    return replace(table, fingerprint=fingerprint, origin=origin)


def _read(content: bytes, where: str, options: DataOptions, encoding: str | None) -> RawTable:
    if arrow_tables.format_of(content):
        return arrow_tables.read_arrow(content, where)
    if file_content.is_workbook(content):
        return excel.read_excel(content, where, options.skip_rows)
    text = encodings.decode(content, where, options.encoding, encoding)
    if json_tables.is_json(text.content):
        table = json_tables.read_json(text.content.decode(), where)
        return replace(table, notices=text.encoding.notices + table.notices)
    return csv_table.read_csv([text.content], text.encoding, where, options, MemoryBatches())
