r"""Quotes and backslashes that are escaped by a backslash, as MySQL and Spark write them in a CSV: `"a 5\" pipe"`.

Before the CSV is parsed, they are replaced by characters that have no meaning in CSV; later they are restored in the
cells. All other backslashes are unchanged, because not every program escapes backslashes.
"""

import re

MARKS = {b'\\"': "\ufdd0".encode(), b"\\\\": "\ufdd1".encode()}  # Unicode never assigns these characters
ESCAPED = re.compile(rb'\\["\\]')


class EscapedQuotes:
    """Replaces escaped quotes and backslashes in content that arrives in chunks."""

    def __init__(self) -> None:
        self._pending = b""  # a backslash at the end of a chunk

    def feed(self, chunk: bytes, *, final: bool = False) -> bytes:
        content, self._pending = self._pending + chunk, b""
        backslashes = len(content) - len(content.rstrip(b"\\"))
        if backslashes % 2 and not final:
            content, self._pending = content[:-1], b"\\"
        return mark_escaped(content)


def mark_escaped(content: bytes) -> bytes:
    return ESCAPED.sub(lambda found: MARKS[found[0]], content) if b"\\" in content else content


def restore_escaped(cell: str) -> str:
    """The text of a cell, with the quotes and backslashes that were replaced."""
    return cell.replace("\ufdd0", '"').replace("\ufdd1", "\\")
