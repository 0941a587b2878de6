"""Reading the body of a request: not larger, not slower and not more packed than allowed."""

import asyncio
import types
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

from backports import zstd

from models.text import short
from service.dataplane import DataPlane
from service.errors import BadBody, BodyTooLarge, BodyTooSlow, ClientGone, TooManyParts, UnsupportedMediaType

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]
T = TypeVar("T")

JSON = b"application/json"
JSON_TYPES = frozenset([b"", JSON, b"application/json; charset=utf-8", b"application/json;charset=utf-8"])
LINGER_BYTES = 64 * 1024**2
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LONGEST_MAGIC = 4
LARGE = 256 * 1024
PARTS_OF_A_ROW = 50  # arrays and objects in the JSON of one, at most on the average
BINARY_HEADER = b"inference-header-content-length"  # of the v2 protocol, where JSON is followed by other bytes
PIECE = 16 * 1024  # of a body that is read in pieces, at least so much in each
PART = 1024**2  # of what is unpacked, at most so much at once
MOST_MEMBERS = 100  # of gzip, or frames of zstd: each costs a copy of what follows it
CODINGS = (b"gzip", b"zstd")


class Body:
    """The body of a request while it is read: not larger, and not slower, than allowed."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._complete = False

    async def read(self, headers: Mapping[bytes, bytes], plane: DataPlane) -> bytes:
        """Raises UnsupportedMediaType, BodyTooLarge, TooManyParts, BodyTooSlow, ClientGone or BadBody."""
        if int(headers.get(b"content-length", b"0")) > self._limit:
            raise BodyTooLarge(self._limit)
        coding = coding_of(headers)
        whole = self._whole()
        try:
            waiting_for = whole.send(None)
        except StopIteration as done:  # it was there already, as it nearly always is: no timer is needed
            body: bytes = done.value
        else:
            try:
                async with asyncio.timeout(self._seconds):
                    body = await resume(whole, waiting_for)
            except TimeoutError:
                raise BodyTooSlow(self._seconds) from None
        if coding in CODINGS:
            body = await plane.beside(expand, body, coding, self._limit)
        if len(body) > LARGE and b"json" in headers.get(b"content-type", JSON) and BINARY_HEADER not in headers:
            refuse_crowds(body, PARTS_OF_A_ROW * plane.settings.max_rows)
        return body

    async def _whole(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            self._complete = True
            body: bytes = message.get("body", b"")
            if len(body) > self._limit:
                raise BodyTooLarge(self._limit)
            return body
        chunks, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                self._complete = True
                raise ClientGone
            chunk = message.get("body", b"")
            chunks.append(chunk)
            size += len(chunk)
            if size > self._limit:
                raise BodyTooLarge(self._limit)
            if not message.get("more_body"):
                self._complete = True
                return b"".join(chunks)
            message = await self._receive()

    async def pieces(self, headers: Mapping[bytes, bytes], plane: DataPlane) -> AsyncGenerator[bytes, None]:
        """The body as it comes, unpacked, in pieces of some size. Raises what `read` raises.

        It may take as long as it takes, but each piece has to come within the time that `read` gives to the whole.
        """
        if int(headers.get(b"content-length", b"0")) > self._limit:
            raise BodyTooLarge(self._limit)
        unpacker = unpacker_of(headers, self._limit)
        size = 0
        while not self._complete:
            piece = await self._piece()
            size += len(piece)
            if size > self._limit:
                raise BodyTooLarge(self._limit)
            if unpacker is None:
                yield piece
                continue
            parts = unpacker.feed(piece)
            while (part := await plane.beside(next, parts, None)) is not None:
                yield part
        if unpacker:
            unpacker.close()

    async def _piece(self) -> bytes:
        """At least PIECE bytes, less only at the end."""
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._seconds):
                while size < PIECE and not self._complete:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        self._complete = True
                        raise ClientGone
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    self._complete = not message.get("more_body")
        except TimeoutError:
            raise BodyTooSlow(self._seconds) from None
        return b"".join(chunks)

    @property
    def complete(self) -> bool:
        """Whether all of it has come."""
        return self._complete

    async def finish(self, seconds: float) -> bool:
        """Read on and throw away, within limits. Whether nothing is left."""
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(seconds):
                while not self._complete and left > 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self._complete = message["type"] == "http.disconnect" or not message.get("more_body")
        except TimeoutError:
            pass
        return self._complete

    async def gone(self) -> None:
        """Returns when the client has gone away. Only for after the body."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


@types.coroutine
def resume(coroutine: Coroutine[Any, Any, T], waiting_for: Any) -> Generator[Any, Any, T]:
    """Await a coroutine that was begun by hand and now waits for something."""
    try:
        while True:
            try:
                sent = yield waiting_for
            except BaseException as error:
                waiting_for = coroutine.throw(error)
            else:
                waiting_for = coroutine.send(sent)
    except StopIteration as done:
        value: T = done.value
        return value


def coding_of(headers: Mapping[bytes, bytes]) -> bytes:
    """Raises UnsupportedMediaType."""
    coding = headers.get(b"content-encoding", b"identity").strip().lower()
    if coding not in (b"identity", b"", *CODINGS):
        text = short(coding.decode("latin-1"))
        raise UnsupportedMediaType(f"content encoding {text!r} is not supported, expected gzip, zstd or none")
    return coding


def check_json(headers: Mapping[bytes, bytes]) -> None:
    """Raises UnsupportedMediaType unless the content type is JSON in UTF-8, or none is told."""
    kind = headers.get(b"content-type", b"")
    if kind in JSON_TYPES:
        return
    media, *parameters = [part.strip().lower() for part in kind.split(b";")]
    charset = dict(parameter.partition(b"=")[::2] for parameter in parameters).get(b"charset", b"utf-8").strip(b'"')
    if media not in (JSON, b"") or charset not in (b"utf-8", b"utf8"):
        text = short(kind.decode("latin-1"))
        raise UnsupportedMediaType(f"content type {text!r} is not supported, expected application/json in UTF-8")


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


def refuse_crowds(body: bytes, most: int) -> None:
    """Raises TooManyParts for JSON of so many arrays and objects that reading it would take a worker's lock for seconds
    and fifty times its size in memory, before anybody could see that there are too many rows in it."""
    count = body.count(b"[") + body.count(b"{")
    if count > most:
        raise TooManyParts(count, most)
