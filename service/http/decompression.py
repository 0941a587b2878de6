"""Decompression of request bodies: gzip and zstd, never to more bytes than allowed."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from backports import zstd

from models.text import truncate
from service.errors import BadBody, BodyTooLarge, UnsupportedMediaType

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LONGEST_MAGIC = 4
PART = 1024**2  # of what is unpacked, at most so much at once
MOST_MEMBERS = 100  # of gzip, or frames of zstd: each costs a copy of what follows it
CODINGS = (b"gzip", b"zstd")


def coding_of(headers: Mapping[bytes, bytes]) -> bytes:
    """Raises UnsupportedMediaType."""
    coding = headers.get(b"content-encoding", b"identity").strip().lower()
    if coding not in (b"identity", b"", *CODINGS):
        text = truncate(coding.decode("latin-1"))
        raise UnsupportedMediaType(f"content encoding {text!r} is not supported, expected gzip, zstd or none")
    return coding


def expand(body: bytes, coding: bytes, limit: int) -> bytes:
    """Unpack gzip or zstd, one member or several, never to more than `limit` bytes. Raises BodyTooLarge or BadBody."""
    unpacker = Unpacker(coding, limit)
    unpacked = b"".join(unpacker.feed(body))
    unpacker.close()
    return unpacked


def unpacker_of(headers: Mapping[bytes, bytes], limit: int) -> "Unpacker | None":
    """Raises UnsupportedMediaType."""
    coding = coding_of(headers)
    return Unpacker(coding, limit) if coding in CODINGS else None


class Unpacker:
    """Unpacks gzip or zstd piece by piece, one member or several, never to more than `limit` bytes in all."""

    def __init__(self, coding: bytes, limit: int) -> None:
        self._name = coding.decode()
        self._limit = limit
        self._size = 0
        self._members = 0
        self._member: Any = None  # that is being unpacked
        self._began = b""  # of a member, too short to be told by

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """What more there is now. Raises BodyTooLarge or BadBody."""
        left, pending = self._began + packed, False
        self._began = b""
        while left or pending:
            if self._member is None:
                if len(left) < LONGEST_MAGIC:
                    self._began = left
                    return
                self._begin(left)
            room = min(PART, self._limit + 1 - self._size)
            try:
                part = self._member.decompress(left, room)
            except (zlib.error, zstd.ZstdError) as error:
                raise BadBody(f"it is not {self._name} ({error})") from None
            self._size += len(part)
            if self._size > self._limit:
                raise BodyTooLarge(self._limit, expanded=True)
            if part:
                yield part
            if self._member.eof:
                left, pending, self._member = self._member.unused_data, False, None
            elif self._name == "gzip":
                left, pending = self._member.unconsumed_tail, len(part) == room
            else:
                left, pending = b"", not self._member.needs_input

    def _begin(self, packed: bytes) -> None:
        if not packed.startswith(GZIP_MAGIC if self._name == "gzip" else ZSTD_MAGIC):
            follow = f"{len(packed)} bytes that are not {self._name} follow its {self._name}"
            raise BadBody(follow if self._members else f"it is not {self._name}")
        if self._members == MOST_MEMBERS:
            raise BadBody(f"its {self._name} has more than {MOST_MEMBERS} members")
        self._members += 1
        self._member = zlib.decompressobj(wbits=31) if self._name == "gzip" else zstd.ZstdDecompressor()

    def close(self) -> None:
        """Raises BadBody where it is cut off."""
        if self._began:
            self._begin(self._began)
        if self._member is not None or not self._members:
            raise BadBody(f"its {self._name} is cut off")
