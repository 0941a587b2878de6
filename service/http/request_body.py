"""Reading the body of a request: not larger, not slower and not more packed than allowed."""

import asyncio
import types
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping
from typing import Any, TypeVar

from service.data_plane import DataPlane
from service.errors import BodyTooLarge, BodyTooSlow, ClientDisconnected, TooManyJsonNodes
from service.http.asgi_types import Receive
from service.http.decompression import CODINGS, content_coding, decompress, decompressor_for
from service.http.negotiation import is_json

T = TypeVar("T")
LINGER_BYTES = 64 * 1024**2
MIN_CHECKED_BYTES = 256 * 1024  # JSON that is larger is checked before it is parsed
NESTED_PER_ROW = 50  # arrays and objects in the JSON of a row, at most on average
BINARY_HEADER = b"inference-header-content-length"  # of the v2 protocol, where JSON is followed by other bytes
CHUNK_BYTES = 16 * 1024  # of a body that is read in chunks, at least so much in each


class RequestBody:
    """The body of a request while it is read: not larger, and not slower, than allowed."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self.receive = receive
        self.limit = limit
        self._seconds = seconds
        self._complete = False

    async def read(self, headers: Mapping[bytes, bytes], plane: DataPlane) -> bytes:
        """Raises UnsupportedMediaType, BodyTooLarge, TooManyJsonNodes, BodyTooSlow, ClientDisconnected or BadBody."""
        if int(headers.get(b"content-length", b"0")) > self.limit:
            raise BodyTooLarge(self.limit)
        coding = content_coding(headers) if b"content-encoding" in headers else b""
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
            body = await plane.run_in_thread(decompress, body, coding, self.limit)
        if len(body) > MIN_CHECKED_BYTES and is_json(headers) and BINARY_HEADER not in headers:
            check_json_size(body, NESTED_PER_ROW * plane.settings.max_rows)
        return body

    async def _whole(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            self._complete = True
            body: bytes = message.get("body", b"")
            if len(body) > self.limit:
                raise BodyTooLarge(self.limit)
            return body
        chunks, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                self._complete = True
                raise ClientDisconnected
            chunk = message.get("body", b"")
            chunks.append(chunk)
            size += len(chunk)
            if size > self.limit:
                raise BodyTooLarge(self.limit)
            if not message.get("more_body"):
                self._complete = True
                return b"".join(chunks)
            message = await self.receive()

    async def chunks(self, headers: Mapping[bytes, bytes], plane: DataPlane) -> AsyncGenerator[bytes, None]:
        """The body as it comes, unpacked, in chunks of some size. Raises what `read` raises.

        It may take as long as it takes, but each chunk has to come within the time that `read` gives to the whole.
        """
        if int(headers.get(b"content-length", b"0")) > self.limit:
            raise BodyTooLarge(self.limit)
        decompressor = decompressor_for(headers, self.limit)
        size = 0
        while not self._complete:
            chunk = await self._chunk()
            size += len(chunk)
            if size > self.limit:
                raise BodyTooLarge(self.limit)
            if decompressor is None:
                yield chunk
                continue
            parts = decompressor.feed(chunk)
            while (part := await plane.run_in_thread(next, parts, None)) is not None:
                yield part
        if decompressor:
            decompressor.close()

    async def _chunk(self) -> bytes:
        """At least CHUNK_BYTES bytes, less only at the end."""
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._seconds):
                while size < CHUNK_BYTES and not self._complete:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        self._complete = True
                        raise ClientDisconnected
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
                    message = await self.receive()
                    left -= len(message.get("body", b""))
                    self._complete = message["type"] == "http.disconnect" or not message.get("more_body")
        except TimeoutError:
            pass
        return self._complete

    async def disconnected(self) -> None:
        """Returns when the client has closed the connection. Only to be awaited once the body is complete."""
        while (await self.receive())["type"] != "http.disconnect":
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


def check_json_size(body: bytes, most: int) -> None:
    """Raises TooManyJsonNodes for more than `most` arrays and objects.

    Parsing them would hold Python's lock for seconds and need fifty times the body's size in memory, before the rows
    can be counted.
    """
    count = body.count(b"[") + body.count(b"{")
    if count > most:
        raise TooManyJsonNodes(count, most)
