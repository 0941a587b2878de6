"""The format of a CSV file: its delimiter and header, detected from the content."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from models.formats.escaped_quotes import mark_escaped, restore_escaped
from models.text import truncate
from training.csv_rows import MAX_FOOTER_LINES
from training.encodings import reject
from training.errors import UsageError

DELIMITERS = ",;\t|"
DELIMITER_NAMES = {"tab": "\t", "\\t": "\t"}
HEAD_BYTES = 1 << 22  # read to detect the delimiter
HEAD_LINES = 100
MAX_TITLE_LINES = 20
COMMENT_STARTS = ("#", "%", "//")
DECIMAL_NUMBER = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?")
DIGITS, WORD = re.compile(r"\d+"), re.compile(r"[^\W\d_]+")
COMPARED_ROWS = 11  # the header and the rows below it
MIN_DATE_DIGITS = 4
DATA_CELL = re.compile(r"[-+]?\d+([.,]\d+)?|\d{4}-\d\d-\d\d|true|false|", re.IGNORECASE)


class Regularity(NamedTuple):
    """How regular the first lines are when a delimiter is assumed.

    share: the fraction of lines with as many cells as the first line, or one additional empty cell. width: the number
    of cells of the first line. trailing: the fraction of lines with an additional empty cell."""

    share: float
    width: int
    trailing: float = 0.0


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
    if head.lstrip()[:1] == "<":
        reject(where, "it looks like HTML or XML")
    best, found = _best_delimiter(head)
    if found.width < 2:
        reject(where, f"its first line has one column{_hint(head)}")
    if found.share < 0.5:
        reject(where, f"its lines have different numbers of cells{_hint(head)}")
    return best


def _best_delimiter(head: str) -> tuple[str, Regularity]:
    ranked = {delimiter: regularity(head, delimiter) for delimiter in DELIMITERS}
    best = max(ranked, key=lambda delimiter: ranked[delimiter])
    return best, ranked[best]


def regularity(head: str, delimiter: str) -> Regularity:
    """The regularity of the first 100 lines that are not blank."""
    try:
        reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, skipinitialspace=delimiter != " ")
        rows = [row for row in islice(reader, HEAD_LINES) if row]
    except csv.Error:
        return Regularity(0.0, 0)
    width = len(rows[0]) if rows else 0
    if width < 2:
        return Regularity(0.0, width)
    trailing = sum(len(row) == width + 1 and not row[-1].strip() for row in rows[1:])
    whole = sum(len(row) == width for row in rows)
    return Regularity((whole + trailing) / len(rows), width, trailing / max(len(rows) - 1, 1))


def _hint(head: str) -> str:
    """Possible reasons why no table was found."""
    lines = head.splitlines(keepends=True)[: HEAD_LINES + MAX_TITLE_LINES]
    start = next((start for start in COMMENT_STARTS if lines and lines[0].startswith(start)), None)
    if start is not None:
        return f" (its first line begins with {start!r}: use --comment '{start}'?)"
    for titles in range(1, min(MAX_TITLE_LINES, len(lines) - 2) + 1):
        if not lines[titles].strip():
            continue
        delimiter, rest = _best_delimiter("".join(lines[titles:]))
        if rest < (0.9, 2):
            continue
        if titles == 1 and regularity(lines[0], delimiter).width == rest.width - 1 > 1:
            return " (each row has one cell more than the header: write a name for the first column)"
        return f" (the table seems to begin in line {titles + 1}: use --skip-rows {titles})"
    return _blanks_hint(lines) or " (another delimiter? use --delimiter)"


def _blanks_hint(lines: list[str]) -> str:
    """A hint for blanks between the cells: a single blank is a delimiter, columns aligned by several blanks are not
    supported."""
    rows = [line.split() for line in lines if line.strip()]
    width = len(rows[0]) if rows else 0
    if width < 2 or sum(len(row) == width for row in rows) < 0.9 * len(rows):
        return ""
    if all(line.strip("\r\n") == " ".join(line.split()) for line in lines if line.strip()):
        return " (its cells seem to be separated by blanks: use --delimiter ' ')"
    return " (its columns seem to be aligned by blanks: write one delimiter between two cells)"


def has_blanks_before_quotes(head: str, delimiter: str) -> bool:
    """Whether quoted cells have a blank before the opening quote, as in `"a", "b"`. The quotes are not part of the
    cells."""
    if delimiter == " " or re.search(rf'{re.escape(delimiter)} +"', head) is None:
        return False
    try:  # a cell may contain the same characters, as in `"a, ""b"""`
        cells = (cell for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) for cell in row[1:])
        return any(cell.startswith(" ") and cell.lstrip(" ").startswith('"') for cell in cells)
    except csv.Error:  # reported with its line when the blanks are removed
        return True


class QuotedCells(NamedTuple):
    """How quoted cells are written: whether blanks may precede the quotes, and whether backslashes escape quotes."""

    delimiter: str
    blanks: bool
    escaped: bool


def with_plain_quotes(chunks: Iterable[bytes], cells: QuotedCells, where: str) -> Iterator[bytes]:
    """Rewrite a table with standard CSV quotes. Each chunk ends at the end of a line. Raises UsageError."""
    marked = map(mark_escaped, chunks) if cells.escaped else chunks
    lines = (line for chunk in marked for line in io.StringIO(chunk.decode(), newline=""))
    reader = csv.reader(lines, delimiter=cells.delimiter, skipinitialspace=cells.blanks, strict=True)
    written = io.StringIO()
    writer = csv.writer(written, delimiter=cells.delimiter, lineterminator="\n")
    try:
        for row in reader:
            writer.writerow(map(restore_escaped, row) if cells.escaped else row)
            if written.tell() > HEAD_BYTES:
                yield written.getvalue().encode()
                written.seek(0)
                written.truncate()
    except csv.Error as error:
        raise UsageError(
            f"{where} cannot be read as CSV: line {reader.line_num}: {error}; a quote inside of a cell is written twice"
        ) from None
    yield written.getvalue().encode()


def has_escaped_quotes(head: str, delimiter: str | None) -> bool:
    """Whether the quotes of the first lines match if backslashes escape quotes. delimiter: None if unknown."""
    if '\\"' not in head:
        return False
    marked = mark_escaped(head.encode()).decode()  # `"C:\\dir\\"`, whose last quote ends the cell, would lack a quote
    return any(_is_strict(marked, candidate) for candidate in (DELIMITERS if delimiter is None else delimiter))


def _is_strict(head: str, delimiter: str) -> bool:
    """Whether each quote opens or closes a cell or is doubled, and all rows but a footer have the same width."""
    try:
        reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
        widths = [len(row) for row in reader if row]
    except csv.Error:
        return False
    return widths[:1] > [1] and all(width == widths[0] for width in widths[1 : max(len(widths) - MAX_FOOTER_LINES, 2)])


def read_header(head: str, delimiter: str, where: str) -> tuple[list[str], int, int]:
    """The cells of the first line that is not blank, and the numbers of lines and bytes up to its end."""
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    try:
        names = next((row for row in reader if row), [])
    except csv.Error as error:
        raise UsageError(f"the first line of {where} cannot be read: {error}") from None
    consumed = "".join(islice(io.StringIO(head, newline=""), reader.line_num))
    return names, reader.line_num, len(consumed.encode())


def check_header_is_not_data(names: list[str], head: str, delimiter: str, where: str) -> None:
    """Raises UsageError if a column name is a decimal number, or a date above dates. Integers, such as years, are
    accepted."""
    found = next((name for name in names if DECIMAL_NUMBER.fullmatch(name)), None)
    if found is None:
        rows = [
            row for row in islice(csv.reader(io.StringIO(head, newline=""), delimiter=delimiter), HEAD_LINES) if row
        ]
        columns = [[cell.strip() for cell in column] for column in zip(*rows[:COMPARED_ROWS], strict=False)]
        found = next((column[0] for column in columns if _is_date_above_dates(column)), None)
    if found is not None:
        raise UsageError(
            f"the first line of {where} must contain the column names, but {truncate(found)!r} looks like data; "
            "if the file has no header, write one above the rows"
        )


def _is_date_above_dates(column: list[str]) -> bool:
    """Whether all cells have the same pattern of numbers, words and separators, with at least two numbers."""
    shapes = {WORD.sub("A", DIGITS.sub("9", cell)) for cell in column}
    digits = DIGITS.findall(column[0])
    return len(column) > 1 and len(shapes) == 1 and len(digits) >= 2 and len("".join(digits)) >= MIN_DATE_DIGITS


def header_hint(names: list[str]) -> str:
    """A hint that the first line may be data, if some of its cells are numbers or dates."""
    found = next((name for name in names if name and DATA_CELL.fullmatch(name)), None)
    return "" if found is None else f" (a file without a header? its first line has {found!r}: write a header above it)"


def title_hint(names: list[str], head: str, delimiter: str) -> str:
    """A hint that the first line may be a title, if a line below it has a name in each of its cells."""
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    try:
        for row in islice(reader, 1, MAX_TITLE_LINES):
            if len(row) == len(names) and all(cell.strip() and not DATA_CELL.fullmatch(cell.strip()) for cell in row):
                return f" (the table seems to begin in line {reader.line_num}: use --skip-rows {reader.line_num - 1})"
    except csv.Error:
        pass
    return ""
