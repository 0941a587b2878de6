"""Decompresses request bodies, gzip and zstd, up to a maximum size."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from backports import zstd

from models.text import counted, truncate
from service.errors import BadBody, BodyTooLarge, UnsupportedMediaType

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LONGEST_MAGIC = 4
CHUNK_BYTES = 1024**2  # the maximum output of one step
MAX_MEMBERS = 100  # maximum number of gzip members or zstd frames, because each copies all bytes after it
CODINGS = (b"gzip", b"zstd")


def content_coding(headers: Mapping[bytes, bytes]) -> bytes:
    """Raises UnsupportedMediaType."""
    coding = headers.get(b"content-encoding", b"identity").strip().lower()
    if coding not in (b"identity", b"", *CODINGS):
        text = truncate(coding.decode("latin-1"))
        raise UnsupportedMediaType(f"content encoding {text!r} is not supported, expected gzip, zstd or none")
    return coding


def decompress(body: bytes, coding: bytes, limit: int) -> bytes:
    """Decompress gzip or zstd, to at most `limit` bytes. Raises BodyTooLarge or BadBody."""
    decompressor = Decompressor(coding, limit)
    content = b"".join(decompressor.feed(body))
    decompressor.close()
    return content


def decompressor_for(headers: Mapping[bytes, bytes], limit: int) -> "Decompressor | None":
    """The decompressor for a content coding; None for a body that is not compressed. Raises UnsupportedMediaType."""
    coding = content_coding(headers)
    return Decompressor(coding, limit) if coding in CODINGS else None


class Decompressor:
    """Decompresses gzip or zstd chunk by chunk, with one or more members, to at most `limit` bytes in total."""

    def __init__(self, coding: bytes, limit: int) -> None:
        self._name = coding.decode()
        self._limit = limit
        self._size = 0
        self._members = 0
        self._member: Any = None  # the decompressor of the current member
        self._start = b""  # the first bytes of a member, until there are enough for its magic number

    def feed(self, compressed: bytes) -> Iterator[bytes]:
        """Yield all bytes that can be decompressed so far. Raises BodyTooLarge or BadBody."""
        left, pending = self._start + compressed, False
        self._start = b""
        while left or pending:
            if self._member is None:
                if len(left) < LONGEST_MAGIC:
                    self._start = left
                    return
                self._start_member(left)
            room = min(CHUNK_BYTES, self._limit + 1 - self._size)
            try:
                chunk = self._member.decompress(left, room)
            except (zlib.error, zstd.ZstdError) as error:
                raise BadBody(f"it is not {self._name} ({error})") from None
            self._size += len(chunk)
            if self._size > self._limit:
                raise BodyTooLarge(self._limit, expanded=True)
            if chunk:
                yield chunk
            if self._member.eof:
                left, pending, self._member = self._member.unused_data, False, None
            elif self._name == "gzip":
                left, pending = self._member.unconsumed_tail, len(chunk) == room
            else:
                left, pending = b"", not self._member.needs_input

    def _start_member(self, compressed: bytes) -> None:
        if not compressed.startswith(GZIP_MAGIC if self._name == "gzip" else ZSTD_MAGIC):
            after = f"after the {self._name} data"
            follow = f"the {counted(len(compressed), f'byte {after} is', f'bytes {after} are')} not {self._name}"
            raise BadBody(follow if self._members else f"it is not {self._name}")
        if self._members == MAX_MEMBERS:
            raise BadBody(f"the {self._name} data have more than {MAX_MEMBERS} members")
        self._members += 1
        self._member = zlib.decompressobj(wbits=31) if self._name == "gzip" else zstd.ZstdDecompressor()

    def close(self) -> None:
        """Raises BadBody if the body ends within a member."""
        if self._start:
            self._start_member(self._start)
        if self._member is not None or not self._members:
            raise BadBody(f"the {self._name} data are truncated")
