"""Lines of a CSV file that are not part of its table: `sep=;`, titles above the header, comments."""

import re
from typing import NamedTuple

from training.errors import UsageError

SEP_LINE = re.compile(rb'"?sep=(.)"?[ \t]*(?:\r\n|\n|\r)', re.IGNORECASE)  # Excel reads and writes it
LINE_END = re.compile(rb"\r\n|\n|\r")


class TableLines(NamedTuple):
    """Content that begins with the header, the number of lines before it, and the delimiter that a line declared.

    comment: what comments begin with, if there are any.
    """

    content: bytes
    skipped: int
    delimiter: str | None
    comment: str | None


def table_lines(content: bytes, where: str, skip_rows: int, comment: str | None) -> TableLines:
    """Remove the lines above the header and comments. Raises UsageError."""
    if skip_rows < 0:
        raise UsageError(f"--skip-rows must be 0 or more, not {skip_rows}")
    declared = SEP_LINE.match(content)
    delimiter, skipped = None, 0
    if declared:
        content, delimiter, skipped = content[declared.end() :], declared[1].decode(errors="replace"), 1
        skip_rows = max(skip_rows - 1, 0)
    for _ in range(skip_rows):
        end = LINE_END.search(content)
        if end is None:
            raise UsageError(f"--skip-rows {skip_rows} leaves nothing of {where}")
        content = content[end.end() :]
    rows = content if comment is None else _blank_comments(content, comment)
    found = None if rows == content else comment
    return TableLines(rows, skipped + skip_rows, delimiter, found)


def _blank_comments(content: bytes, comment: str) -> bytes:
    """Replace lines that begin with the text by blank lines, so that line numbers stay the same."""
    if not comment or comment.isspace():
        raise UsageError("--comment must be the text that comments begin with, such as #")
    return re.sub(rb"(?m)^[ \t]*" + re.escape(comment.encode()) + rb"[^\r\n]*", b"", content)
