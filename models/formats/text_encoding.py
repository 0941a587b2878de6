"""Converts a CSV from any encoding to UTF-8, chunk by chunk.

A body that is valid UTF-8 is read as UTF-8. Any other body is read in the encoding of the training file, so that this
file can be sent unchanged.
"""

import codecs
import re

from models.formats.errors import FormatError

WIDE = ("utf-16", "utf-32")  # Latin text in these encodings contains zero bytes
HEAD_BYTES = 4  # enough bytes to detect UTF-16 and UTF-32
FIRST_ESCAPE = 0xDC00  # "surrogateescape" decodes the invalid byte 0xF6 to U+DCF6
ESCAPED = re.compile(f"[{chr(0xDC80)}-{chr(0xDCFF)}]")


def repair_invalid_bytes(text: str) -> str:
    """Decode as cp1252 the invalid bytes of a text that was decoded with "surrogateescape"."""
    return ESCAPED.sub(lambda match: bytes([ord(match[0]) - FIRST_ESCAPE]).decode("cp1252", "replace"), text)


class Utf8Converter:
    """Converts chunks in UTF-8 or another encoding to chunks of whole characters in UTF-8.

    encoding: the encoding of text that is not UTF-8; with "utf-8", only invalid bytes are decoded differently, as
    cp1252. declared: whether the client declares this encoding. Raises FormatError if the text is in neither encoding.
    """

    def __init__(self, encoding: str, *, declared: bool = False) -> None:
        self._encoding = encoding
        self._repairs = encoding == "utf-8"
        self._wide = encoding.startswith(WIDE)
        self._pending = b""  # the start of a character, or of the text
        self._has_utf8 = False  # whether characters beyond ASCII were read as UTF-8
        self._head = self._wide  # whether the first bytes have not been received yet
        self._decoder: codecs.IncrementalDecoder | None = None
        if declared or self._repairs:
            self._switch_encoding()

    def feed(self, chunk: bytes, *, final: bool = False) -> bytes:
        if self._decoder is not None:
            return self._decode(chunk, final=final)
        content, self._pending = self._pending + chunk, b""
        if self._head:
            if len(content) < HEAD_BYTES and not final:
                self._pending = content
                return b""
            self._head = False
            if 0 in content[:HEAD_BYTES]:
                return self._switch_encoding()._decode(content, final=final)
        try:
            text, end = codecs.utf_8_decode(content, "strict", final)
        except UnicodeDecodeError as error:
            if self._has_utf8 or not (self._wide or _is_mostly_invalid(content)):
                raise FormatError(f"it is not UTF-8 text ({error.reason} at byte {error.start} of a chunk)") from None
            return self._switch_encoding()._decode(content, final=final)
        self._has_utf8 = self._has_utf8 or not text.isascii()
        self._pending = content[end:]
        return content[:end]

    def _switch_encoding(self) -> "Utf8Converter":
        """Decode the remaining bytes in the other encoding."""
        errors = "surrogateescape" if self._repairs else "strict"
        self._decoder = codecs.getincrementaldecoder(self._encoding)(errors)
        return self

    def _decode(self, content: bytes, *, final: bool) -> bytes:
        assert self._decoder is not None
        try:
            text = self._decoder.decode(content, final)
            return (repair_invalid_bytes(text) if self._repairs else text).encode()
        except UnicodeError as error:
            reason = error.reason if isinstance(error, UnicodeDecodeError | UnicodeEncodeError) else str(error)
            raise FormatError(f"it is neither UTF-8 nor {self._encoding} text ({reason})") from None


def to_utf8(content: bytes, encoding: str | None, *, declared: bool = False) -> bytes:
    """Convert a whole text as `Utf8Converter` does. Without an encoding, the text is unchanged."""
    return content if encoding is None else Utf8Converter(encoding, declared=declared).feed(content, final=True)


def _is_mostly_invalid(content: bytes) -> bool:
    """Whether a text has more invalid bytes than valid non-ASCII UTF-8 characters, which also occur by chance in other
    encodings."""
    text = content.decode(errors="surrogateescape")
    invalid = len(ESCAPED.findall(text))
    return invalid > len(re.findall("[^\x00-\x7f]", text)) - invalid
