"""Lines of a CSV file that are not part of its table: `sep=;`, titles above the header, comments."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from training.errors import UsageError

SEP_LINE = re.compile(rb'"?sep=(.)"?[ \t]*(?:\r\n|\n|\r)', re.IGNORECASE)  # Excel reads and writes this line
LINE_END = re.compile(rb"\r\n|\n|\r")


class TableStart(NamedTuple):
    """Content that begins with the header, the number of lines before it, and the delimiter that a line declared."""

    chunks: Iterable[bytes]
    skipped: int
    delimiter: str | None


def table_start(first: bytes, rest: Iterable[bytes], where: str, skip_rows: int) -> TableStart:
    """Remove the lines above the header, which are in the first chunk. Raises UsageError."""
    if skip_rows < 0:
        raise UsageError(f"--skip-rows must be 0 or more, not {skip_rows}")
    declared = SEP_LINE.match(first)
    delimiter, skipped = None, 0
    if declared:
        first, delimiter, skipped = first[declared.end() :], declared[1].decode(errors="replace"), 1
        skip_rows = max(skip_rows - 1, 0)
    for _ in range(skip_rows):
        end = LINE_END.search(first)
        if end is None:
            raise UsageError(f"--skip-rows {skip_rows} leaves nothing of {where}")
        first = first[end.end() :]
    return TableStart(chain([first], rest), skipped + skip_rows, delimiter)


class CommentBlanks:
    """Replaces comments by blank lines, so that line numbers stay the same. `found` is true if there were comments.

    comment: the text that comments begin with, or None if the file has no comments. Raises UsageError.
    """

    def __init__(self, comment: str | None) -> None:
        if comment is not None and (not comment or comment.isspace()):
            raise UsageError("--comment must be the text that comments begin with, such as #")
        self._line = (
            None if comment is None else re.compile(rb"(?m)^[ \t]*" + re.escape(comment.encode()) + rb"[^\r\n]*")
        )
        self.found = False

    def blanked(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks with blanked comments. chunks: each ends at the end of a line."""
        for chunk in chunks:
            if self._line is None:
                yield chunk
                continue
            blank, count = self._line.subn(b"", chunk)
            self.found = self.found or count > 0
            yield blank
