"""The format of a CSV file: its encoding, delimiter and header, detected from the content."""

import codecs
import csv
import io
import re
from itertools import islice
from typing import NoReturn

from training.errors import UsageError

DELIMITERS = ",;\t|"
DELIMITER_NAMES = {"tab": "\t", "\\t": "\t"}
HEAD_BYTES = 1 << 22  # read to detect the encoding and the delimiter
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DECIMAL_NUMBER = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?")


def decode(content: bytes, where: str) -> tuple[bytes, str]:
    """The content as UTF-8 without a byte order mark, and the encoding that it had. Raises UsageError."""
    encoding = detect_encoding(content, where)
    if encoding.startswith("utf-8"):
        return content.removeprefix(codecs.BOM_UTF8), encoding
    return content.decode(encoding).encode(), encoding


def detect_encoding(content: bytes, where: str) -> str:
    """The encoding of a text file: by its byte order mark, else UTF-8 if the content is valid, else Western European.

    Raises UsageError for binary content.
    """
    head = content[:HEAD_BYTES]
    for mark, name in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return name if _is_valid(content, name) else _reject(where, f"it starts like {name} but is not")
    zeros = [half.count(0) / max(len(half), 1) for half in (head[::2], head[1::2])]
    if max(zeros) > 0.5 and min(zeros) < 0.1:  # Latin text with two bytes per character
        name = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
        return name if _is_valid(content, name) else _reject(where, "it holds binary data")
    if 0 in head or sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head[:4096]) > 20:
        _reject(where, "it holds binary data" + (" (a ZIP archive or workbook)" if head[:2] == b"PK" else ""))
    return next((name for name in ("utf-8", "cp1252") if _is_valid(content, name)), "latin-1")


def _is_valid(content: bytes, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for start in range(0, len(content), HEAD_BYTES):
            decoder.decode(content[start : start + HEAD_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _reject(where: str, reason: str) -> NoReturn:
    raise UsageError(f"{where} is not a table: {reason}; a CSV or Parquet file is needed")


def head_of(content: bytes) -> str:
    """The first lines of UTF-8 content, without a line that is cut off."""
    head = content[:HEAD_BYTES].decode("utf-8", "ignore")
    if len(content) > HEAD_BYTES:
        head = head[: head.rfind("\n") + 1] or head
    return head


def parse_delimiter(text: str) -> str:
    """The delimiter of `--delimiter`. Raises UsageError."""
    delimiter = DELIMITER_NAMES.get(text, text)
    if len(delimiter) != 1:
        raise UsageError(f"--delimiter must be one character or 'tab', not {delimiter!r}")
    return delimiter


def detect_delimiter(head: str, where: str) -> str:
    """The delimiter with which most of the first lines have the same number of cells, at least two."""
    if head.lstrip()[:1] in ("<", "{", "["):
        _reject(where, "it looks like HTML, XML or JSON")
    ranked = {delimiter: _regularity(head, delimiter) for delimiter in DELIMITERS}
    best = max(ranked, key=lambda delimiter: ranked[delimiter])
    share, width = ranked[best]
    if width < 2:
        _reject(where, "its first line holds one column (another delimiter? say --delimiter)")
    if share < 0.5:
        _reject(where, "its lines have different numbers of cells (another delimiter? say --delimiter)")
    return best


def _regularity(head: str, delimiter: str) -> tuple[float, int]:
    """(share of the first 100 lines with as many cells as the first line, number of cells in the first line)."""
    try:
        rows = [row for row in islice(csv.reader(io.StringIO(head, newline=""), delimiter=delimiter), 100) if row]
    except csv.Error:
        return 0.0, 0
    width = len(rows[0]) if rows else 0
    return (sum(len(row) == width for row in rows) / len(rows), width) if width > 1 else (0.0, width)


def read_header(head: str, delimiter: str, where: str) -> tuple[list[str], int, int]:
    """The first line that is not blank: its cells, the number of lines up to its end, the bytes up to its end."""
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    try:
        names = next((row for row in reader if row), [])
    except csv.Error as error:
        raise UsageError(f"the first line of {where} cannot be read: {error}") from None
    consumed = "".join(islice(io.StringIO(head, newline=""), reader.line_num))
    return names, reader.line_num, len(consumed.encode())


def check_header_is_not_data(names: list[str], where: str) -> None:
    """Raises UsageError for a decimal number: a column name may be a whole number (a year, a pixel) at most."""
    decimal = next((name for name in names if DECIMAL_NUMBER.fullmatch(name)), None)
    if decimal is not None:
        raise UsageError(f"the first line of {where} must hold the column names, but {decimal!r} looks like data")
