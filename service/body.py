"""Reading the body of a request: not larger, not slower and not more packed than allowed."""

import asyncio
import types
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from typing import Any, TypeVar

from backports import zstd

from models.features import short
from service.dataplane import DataPlane
from service.errors import BadBody, BodyTooLarge, BodyTooSlow, ClientGone, UnsupportedMediaType

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
MOST_MEMBERS = 100  # of gzip, or frames of zstd: each costs a copy of what follows it
CODINGS = (b"gzip", b"zstd")


class Body:
    """The body of a request while it is read: not larger, and not slower, than allowed."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._complete = False

    async def read(self, headers: dict[bytes, bytes], plane: DataPlane) -> bytes:
        """Raises UnsupportedMediaType, BodyTooLarge, BodyTooSlow, ClientGone or BadBody."""
        if int(headers.get(b"content-length", b"0")) > self._limit:
            raise BodyTooLarge(self._limit)
        coding = headers.get(b"content-encoding", b"identity").strip().lower()
        if coding not in (b"identity", b"", *CODINGS):
            text = short(coding.decode("latin-1"))
            raise UnsupportedMediaType(f"content encoding {text!r} is not supported, expected gzip, zstd or none")
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
        return await plane.beside(expand, body, coding, self._limit) if coding in CODINGS else body

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


def check_json(headers: dict[bytes, bytes]) -> None:
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
    name, magic = coding.decode(), GZIP_MAGIC if coding == b"gzip" else ZSTD_MAGIC
    members: list[bytes] = []
    left, size = body, 0
    while left or not members:
        if members and not left.startswith(magic):
            raise BadBody(f"{len(left)} bytes that are not {name} follow its {name}")
        if len(members) == MOST_MEMBERS:
            raise BadBody(f"its {name} has more than {MOST_MEMBERS} members")
        unpacker: Any = zlib.decompressobj(wbits=31) if coding == b"gzip" else zstd.ZstdDecompressor()
        try:
            members.append(unpacker.decompress(left, limit + 1 - size))
        except (zlib.error, zstd.ZstdError) as error:
            raise BadBody(f"it is not {name} ({error})") from None
        size += len(members[-1])
        if size > limit:
            raise BodyTooLarge(limit, expanded=True)
        if not unpacker.eof:
            raise BadBody(f"its {name} is cut off")
        left = unpacker.unused_data
    return b"".join(members)
