"""Detects the encoding of a text file from its whole content, or reads it from `--encoding`, and converts the content
to UTF-8.

A large file is read in chunks, see `training.streaming`.
"""

import codecs
import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, NoReturn

from models.formats.text_encoding import ESCAPED, FIRST_ESCAPE, repair_invalid_bytes
from models.text import counted, did_you_mean, truncate
from training.errors import UsageError
from training.legacy_encodings import WESTERN_EUROPEAN, likely_encodings

HEAD_BYTES = 1 << 22  # searched for signs of binary content
END_OF_FILE = b"\x1a"  # DOS programs write it once or up to the end of a block
BYTE_ORDER_MARKS = (  # the byte order mark of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SUGGESTED = ("utf-8", "cp1252", "cp1250", "cp1251", "latin-1", "utf-16", "utf-32", "shift_jis", "gb18030", "mac_roman")
PLAIN = ("utf-8", "utf-8-sig", "ascii")
NOT_ASCII, NOT_ASCII_WORD = re.compile("[^\x00-\x7f]"), re.compile(r"\w*[^\x00-\x7f]\w*")


Chunks = Callable[[], Iterator[bytes]]
"""Reads the content from its beginning, in chunks that end at the ends of lines."""


class TextEncoding(NamedTuple):
    """The encoding of a whole text, and notices about it. repaired: whether invalid bytes are read as cp1252."""

    name: str
    notices: list[str]
    repaired: bool = False

    @property
    def stored(self) -> str | None:
        """The encoding that the schema contains, None for UTF-8."""
        return self.name if self.repaired or self.name not in PLAIN else None

    def to_utf8(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same text as UTF-8 without a byte order mark."""
        if self.name in PLAIN and not self.repaired:
            yield from _without_mark(chunks)
        elif self.repaired:
            for chunk in _without_mark(chunks):
                yield repair_invalid_bytes(chunk.decode(errors="surrogateescape")).encode()
        else:
            texts = _decoded(chunks, self.name)
            yield next(texts, "").removeprefix("\ufeff").encode(errors="replace")
            for text in texts:
                yield text.encode(errors="replace")


class DecodedText(NamedTuple):
    """Content as UTF-8 without a byte order mark, and its original encoding."""

    content: bytes
    encoding: TextEncoding


def decode(content: bytes, where: str, requested: str | None = None, expected: str | None = None) -> DecodedText:
    """Decode a text file. requested: value of `--encoding`. expected: encoding in `--schema`. Raises UsageError."""
    encoding = detect_encoding(content[:HEAD_BYTES], lambda: iter([content]), where, requested, expected)
    return DecodedText(b"".join(encoding.to_utf8([content])), encoding)


def detect_encoding(
    head: bytes, chunks: Chunks, where: str, requested: str | None = None, expected: str | None = None
) -> TextEncoding:
    """Detect the encoding of a text from all of its bytes. head: its first bytes. Raises UsageError."""
    if requested is not None:
        return _check_decodes(chunks, where, requested)
    for mark, name in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return _check_marked(chunks, where, name)
    if (wide := _utf16_without_mark(head)) is not None:
        if _first_error(chunks, wide) is not None:
            reject(where, "it contains binary data")
        return TextEncoding(wide, [_notice(where, wide, "every second byte is zero")])
    _check_is_text(head, where)
    if _first_error(chunks, "utf-8") is None:
        return TextEncoding("utf-8", [])
    if expected is not None and expected not in PLAIN:
        return _check_decodes(chunks, where, expected, "--schema")
    return _detect_by_invalid_utf8(chunks, where)


def reject(where: str, reason: str) -> NoReturn:
    raise UsageError(
        f"{where} is not a table: {reason}; a CSV, JSON, Excel (.xlsx), Parquet, Feather or Arrow file is needed"
    )


def _notice(where: str, encoding: str, reason: str) -> str:
    return f"{where} is read as {encoding}: {reason} (--encoding overrides)"


def _check_decodes(chunks: Chunks, where: str, requested: str, flag: str = "--encoding") -> TextEncoding:
    try:
        encoding = codecs.lookup(requested).name
        _check_is_encoding_of_text(encoding)
        found = _first_error(chunks, encoding)
    except LookupError:
        hint = did_you_mean(requested, SUGGESTED) or f": {', '.join(SUGGESTED)}, … are known"
        raise UsageError(f"{flag} {truncate(requested)!r} is not a known encoding of text{hint}") from None
    if found is not None:
        raise UsageError(
            f"{where} is not {encoding} ({flag}): line {found.line} has the byte {found.byte:#04x} ({found.reason})"
        )
    return TextEncoding(encoding, [])


def _check_is_encoding_of_text(name: str) -> None:
    """Raises LookupError for a codec that does not encode text."""
    with contextlib.suppress(UnicodeDecodeError):  # the chunk ends inside a character
        b" ".decode(name)


def _check_marked(chunks: Chunks, where: str, name: str) -> TextEncoding:
    found = _first_error(chunks, name)
    if found is not None:
        if name != "utf-8-sig":
            reject(where, f"it begins with the byte order mark of {name} but is not {name}")
        repaired = _repair(chunks, where)
        return repaired or reject(
            where, f"it begins with the byte order mark of {name} but is not {name} ({found.reason})"
        )
    notices = [] if name == "utf-8-sig" else [_notice(where, name, "it starts with the byte order mark")]
    return TextEncoding(name, notices)


def _utf16_without_mark(head: bytes) -> str | None:
    """Detect UTF-16 in Latin text, in which one byte of each character is zero."""
    zeros = [half.count(0) / max(len(half), 1) for half in (head[::2], head[1::2])]
    if max(zeros) > 0.5 and min(zeros) < 0.1:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    return None


def _check_is_text(head: bytes, where: str) -> None:
    start = head[:4096].rstrip(END_OF_FILE)
    if 0 not in head and sum(byte < 32 and byte not in b"\t\n\r\f" for byte in start) <= 20:
        return
    known = {b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as .xlsx", b"PK": "a ZIP archive or a document"}
    what = next((f" ({name})" for start, name in known.items() if head.startswith(start)), "")
    reject(where, f"it contains binary data{what}")


def _detect_by_invalid_utf8(chunks: Chunks, where: str) -> TextEncoding:
    """UTF-8 with a few invalid bytes, or an encoding with one byte per character."""
    if (repaired := _repair(chunks, where)) is not None:
        return repaired
    likely = likely_encodings(chunks())
    names = [name for name in likely.names if _first_error(chunks, name) is None] or ["latin-1"]  # has all bytes
    if likely.sure and names[0] in (likely.names[0], "latin-1"):
        reason = f"it is not UTF-8; its first non-ASCII word reads {_first_word(chunks, names[0])}"
        return TextEncoding(names[0], [_notice(where, names[0], reason)])
    readings = ", ".join(
        f"--encoding {name} (its first non-ASCII word reads {_first_word(chunks, name)})" for name in names
    )
    raise UsageError(f"{where} is not UTF-8, and its encoding is not clear: use {readings} or another one")


def _first_word(chunks: Chunks, encoding: str) -> str:
    words = (match[0] for text in _decoded(chunks(), encoding) if (match := NOT_ASCII_WORD.search(text)))
    return repr(truncate(next(words, "")))


def _repair(chunks: Chunks, where: str) -> TextEncoding | None:
    """UTF-8 whose invalid bytes are read as cp1252; None if valid characters beyond ASCII are missing or occur by
    chance, as about one in ten Chinese or Korean characters does.

    Raises UsageError if neither valid nor invalid characters are in the majority.
    """
    valid = invalid = lines = 0
    first: tuple[int, str] | None = None  # the line of the first invalid byte, and the escaped byte
    for chunk in _without_mark(chunks()):
        text = chunk.decode(errors="surrogateescape")
        if not text.isascii():
            escaped = [match.start() for match in ESCAPED.finditer(text)]
            valid, invalid = valid + len(NOT_ASCII.findall(text)) - len(escaped), invalid + len(escaped)
            if escaped and first is None:
                first = lines + text.count("\n", 0, escaped[0]) + 1, text[escaped[0]]
        lines += text.count("\n")
    if not valid or first is None:
        return None
    line, escape = first
    byte = ord(escape) - FIRST_ESCAPE
    if invalid > valid:
        if likely_encodings(chunks()).names[0] not in WESTERN_EUROPEAN:
            return None
        raise UsageError(
            f"{where} has {counted(valid, 'character')} of UTF-8 and "
            f"{counted(invalid, 'byte that is', 'bytes that are')} not UTF-8, the first of them {byte:#04x} "
            f"in line {line}: use --encoding cp1252 or another one (gb18030, euc_kr, …), or fix the file"
        )
    notice = (
        f"{where} is UTF-8, but {counted(invalid, 'of its bytes is', 'of its bytes are')} invalid and read as cp1252: "
        f"line {line} has the byte {byte:#04x}, read as {repair_invalid_bytes(escape)!r} (--encoding overrides)"
    )
    return TextEncoding("utf-8", [notice], repaired=True)


class InvalidByte(NamedTuple):
    """A byte that is invalid in an encoding, and its line, counted from 1."""

    line: int
    byte: int
    reason: str


def _first_error(chunks: Chunks, name: str) -> InvalidByte | None:
    """The first byte that cannot be decoded, or None."""
    lines = 0
    try:
        for text in _decoded(chunks(), name):
            lines += text.count("\n")
    except UnicodeDecodeError as error:
        content = bytes(error.object)
        return InvalidByte(lines + line_of(content, error.start), content[error.start], error.reason)
    return None


def _decoded(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    """The texts of chunks. Raises UnicodeDecodeError."""
    rest = iter(chunks)
    first = next(rest, b"")
    decoder = codecs.getincrementaldecoder(_with_byte_order(first, name))()
    yield decoder.decode(first)
    for chunk in rest:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", True)


def _with_byte_order(start: bytes, name: str) -> str:
    """The name of the codec: UTF-16 and UTF-32 without a byte order mark are little-endian, as on Windows."""
    marked = any(start.startswith(mark) for mark, marked_name in BYTE_ORDER_MARKS if marked_name == name)
    return name if marked or name not in ("utf-16", "utf-32") else f"{name}-le"


def _without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = iter(chunks)
    yield next(rest, b"").removeprefix(codecs.BOM_UTF8)
    yield from rest


def line_of(content: bytes, position: int) -> int:
    """The line of a byte, counted from 1."""
    return content.count(b"\n", 0, position) + 1
