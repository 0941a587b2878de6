"""Removes lines of a CSV body that are not part of its table, as in the training file: titles and comments.

A body without such lines is unchanged.
"""

import codecs
import re
from collections.abc import Callable

from models.formats.blocks import MAX_LINE_BYTES
from models.formats.errors import FormatError

SEP_LINE = re.compile(rb'\A"?sep=."?[ \t]*\r?\n', re.IGNORECASE)  # Excel writes this line above the header


class TitleLines:
    """Removes lines above the header: a byte order mark, `sep=;`, blank lines, and titles.

    count: the lines above the header in the training file. known: returns the number of column names in a line.
    """

    def __init__(self, count: int, known: Callable[[bytes], int]) -> None:
        self._count = count
        self._known = known
        self._content = b""

    def feed(self, chunk: bytes, *, final: bool) -> bytes | None:
        """The content, starting at the header; None until enough lines have been received."""
        self._content += chunk
        content = self._content.removeprefix(codecs.BOM_UTF8)
        plain = SEP_LINE.sub(b"", content.lstrip(b"\r\n"), 1)
        below = self._below_titles(content)
        is_complete = b"\n" in below and b"\n" in plain
        if not is_complete and not final and len(content) <= MAX_LINE_BYTES:
            return None
        return below if self._known(first_line(below)) > self._known(first_line(plain)) else plain

    def _below_titles(self, content: bytes) -> bytes:
        for _ in range(self._count):
            content = content.partition(b"\n")[2]
        return content.lstrip(b"\r\n")


class CommentLines:
    """Removes the text of lines that begin with a comment mark, in content that is received in chunks."""

    def __init__(self, mark: str) -> None:
        self.pattern = re.compile(rb"(?m)^[ \t]*" + re.escape(mark.encode()) + rb"[^\r\n]*")
        self._unended = b""
        self._at_start = True

    def feed(self, chunk: bytes, *, final: bool) -> bytes:
        """The complete lines without comments. With `final` also the last, incomplete line."""
        content = self._unended + chunk
        cut = len(content) if final else content.rfind(b"\n") + 1
        lines, self._unended = content[:cut], content[cut:]
        if len(self._unended) > MAX_LINE_BYTES:
            raise FormatError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        if lines and self._at_start:
            lines, self._at_start = lines.removeprefix(codecs.BOM_UTF8), False
        return self.pattern.sub(b"", lines)


def first_line(content: bytes) -> bytes:
    return content.partition(b"\n")[0]
