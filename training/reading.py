"""Reads a table from a file or from standard input into a `RawTable`; detects its format from the content."""

import hashlib
from dataclasses import replace

from training import arrow_tables, captured_data, csv_table, encodings, excel, file_content, json_tables
from training.config import DataOptions, check_seed
from training.errors import UsageError
from training.raw_table import RawTable

BLANK = b" \r\n\t\0\xef\xbb\xbf\xff\xfe"


def read_table(options: DataOptions, encoding: str | None = None) -> RawTable:
    """Read the table that the options name. encoding: that of `--schema`, of a text that is not UTF-8.

    Raises UsageError.
    """
    check_seed("--seed", options.seed)
    if captured_data.is_captured(options.data):
        return captured_data.read_captured(options)
    content = file_content.read_bytes(options.data)
    fingerprint = hashlib.sha256(content).hexdigest()
    where = "standard input" if options.data == "-" else options.data
    if not content:
        raise UsageError(f"{where} is empty")
    content, compression = file_content.decompress(content, where)
    if not content.strip(BLANK):
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
        return replace(table, notices=text.notices + table.notices)
    return csv_table.read_csv(text, where, options)
