"""The encoding of a text file, decided by its content or by `--encoding`, and its content as UTF-8."""

import codecs
import re
from typing import NamedTuple, NoReturn

from models.formats.text_encoding import ESCAPED, FIRST_ESCAPE, repair_invalid_bytes
from models.text import did_you_mean, truncate
from training.errors import UsageError

HEAD_BYTES = 1 << 22  # searched for signs of binary content
BYTE_ORDER_MARKS = (  # the mark of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SUGGESTED = ("utf-8", "cp1252", "cp1250", "cp1251", "latin-1", "utf-16", "utf-32", "shift_jis", "gb18030", "mac_roman")
PLAIN = ("utf-8", "utf-8-sig", "ascii")


class DecodedText(NamedTuple):
    """Content as UTF-8 without a byte order mark, the encoding that it had, and notices about it.

    repaired: whether invalid bytes were read as cp1252.
    """

    content: bytes
    encoding: str
    notices: list[str]
    repaired: bool = False

    @property
    def stored_encoding(self) -> str | None:
        """The `encoding` of a schema."""
        return self.encoding if self.repaired or self.encoding not in PLAIN else None


def decode(content: bytes, where: str, requested: str | None = None, expected: str | None = None) -> DecodedText:
    """Decode a text file. requested: the encoding of `--encoding`. expected: of `--schema`. Raises UsageError."""
    if requested is not None:
        return _decode_as(content, where, requested)
    for mark, name in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _decode_marked(content, where, name)
    if (wide := _utf16_without_mark(content)) is not None:
        try:
            text = content.decode(wide)
        except UnicodeDecodeError:
            reject(where, "it holds binary data")
        return DecodedText(text.encode(), wide, [_notice(where, wide, "every second byte is zero")])
    _check_is_text(content, where)
    try:
        content.decode()
    except UnicodeDecodeError:
        if expected is not None and expected not in PLAIN:
            return _decode_as(content, where, expected, "--schema")
        return _decode_invalid_utf8(content, where)
    return DecodedText(content, "utf-8", [])


def reject(where: str, reason: str) -> NoReturn:
    raise UsageError(
        f"{where} is not a table: {reason}; a CSV, JSON, Excel (.xlsx), Parquet, Feather or Arrow file is needed"
    )


def _notice(where: str, encoding: str, reason: str) -> str:
    return f"{where} is read as {encoding}: {reason} (--encoding overrides)"


def _decode_as(content: bytes, where: str, requested: str, flag: str = "--encoding") -> DecodedText:
    try:
        encoding = codecs.lookup(requested).name
        text = content.decode(encoding)
    except LookupError:
        hint = did_you_mean(requested, SUGGESTED) or f": {', '.join(SUGGESTED)}, … are known"
        raise UsageError(f"{flag} {truncate(requested)!r} is not a known encoding of text{hint}") from None
    except UnicodeDecodeError as error:
        line = line_of(content, error.start)
        raise UsageError(
            f"{where} is not {encoding} ({flag}): line {line} has the byte {content[error.start]:#04x} ({error.reason})"
        ) from None
    return DecodedText(text.removeprefix("\ufeff").encode(errors="replace"), encoding, [])


def _decode_marked(content: bytes, where: str, name: str) -> DecodedText:
    try:
        text = content.decode(name)
    except UnicodeDecodeError as error:
        if name != "utf-8-sig":
            reject(where, f"it starts like {name} but is not")
        repaired = _repair(content.removeprefix(codecs.BOM_UTF8), where)
        return repaired or reject(where, f"it starts like {name} but is not ({error.reason})")
    notices = [] if name == "utf-8-sig" else [_notice(where, name, "it starts with the byte order mark")]
    return DecodedText(text.encode(), name, notices)


def _utf16_without_mark(content: bytes) -> str | None:
    """UTF-16 of Latin text, of whose two bytes one is zero."""
    head = content[:HEAD_BYTES]
    zeros = [half.count(0) / max(len(half), 1) for half in (head[::2], head[1::2])]
    if max(zeros) > 0.5 and min(zeros) < 0.1:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    return None


def _check_is_text(content: bytes, where: str) -> None:
    head = content[:HEAD_BYTES]
    if 0 not in head and sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head[:4096]) <= 20:
        return
    known = {b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as .xlsx", b"PK": "a ZIP archive or a document"}
    what = next((f" ({name})" for start, name in known.items() if content.startswith(start)), "")
    reject(where, f"it holds binary data{what}")


def _decode_invalid_utf8(content: bytes, where: str) -> DecodedText:
    """UTF-8 with a few invalid bytes, or an encoding with one byte per character."""
    if (repaired := _repair(content, where)) is not None:
        return repaired
    for name in ("cp1252", "latin-1"):
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        word = next(iter(re.findall(r"\w*[^\x00-\x7f]\w*", text)), "")
        reason = f"it is not UTF-8, its first word that is not ASCII reads {truncate(word)!r}"
        return DecodedText(text.encode(), name, [_notice(where, name, reason)])
    raise AssertionError("latin-1 decodes any bytes")


def _repair(content: bytes, where: str) -> DecodedText | None:
    """UTF-8 whose invalid bytes are read as cp1252; None if valid characters beyond ASCII are missing.

    Raises UsageError if neither the valid nor the invalid ones prevail.
    """
    text = content.decode(errors="surrogateescape")
    invalid = [match.start() for match in ESCAPED.finditer(text)]
    invalid_bytes = len(invalid)
    valid = len(re.findall("[^\x00-\x7f]", text)) - invalid_bytes
    if not valid:
        return None
    first = invalid[0]
    line = text.count("\n", 0, first) + 1
    byte = ord(text[first]) - FIRST_ESCAPE
    if invalid_bytes > valid:
        raise UsageError(
            f"{where} has {valid} characters of UTF-8 and {invalid_bytes} bytes that are not UTF-8, the first of them "
            f"{byte:#04x} in line {line}: say --encoding cp1252, or fix the file"
        )
    fixed = repair_invalid_bytes(text)
    notice = (
        f"{where} is UTF-8, but {invalid_bytes} of its bytes are not and read as cp1252: line {line} has the byte "
        f"{byte:#04x}, read as {fixed[first]!r} (--encoding overrides)"
    )
    return DecodedText(fixed.encode(), "utf-8", [notice], repaired=True)


def line_of(content: bytes, position: int) -> int:
    """The line of a byte, from 1."""
    return content.count(b"\n", 0, position) + 1
