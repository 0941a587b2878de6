"""Reads request bodies within limits of size, time and compression."""

import asyncio
import contextlib
import time
import types
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from service.data_plane import DataPlane
from service.errors import BodyTooLarge, BodyTooSlow, ClientDisconnected, TooManyJsonNodes
from service.fair_turns import FairTurns
from service.http.asgi_types import Message, Receive
from service.http.decompression import CODINGS, content_coding, decompress, decompressor_for
from service.http.negotiation import is_json
from service.memory_budget import MemoryBudget, Reservation, memory_of_body

T = TypeVar("T")
EXPANSION = 32  # expected expansion of a compressed body
LINGER_BYTES = 64 * 1024**2  # maximum size of the part of a refused body that is read and dropped
MIN_CHECKED_BYTES = 256 * 1024  # larger JSON is checked before it is parsed
OTHER_OBJECTS = 100  # maximum number of arrays and objects in a request outside of its rows
OTHER_NAMES = 20  # maximum number of names in an object that are not columns of a model
NESTED_PER_ROW = 50  # maximum average number of arrays and objects per row
BINARY_HEADER = b"inference-header-content-length"  # in the Open Inference Protocol, if binary tensors follow the JSON
COUNTED_BYTES = 256 * 1024  # bytes that are counted in one step, which limits the memory of the count
CHUNK_BYTES = 16 * 1024  # the minimum size of each chunk of a body that is read in chunks


class ClientTurn(NamedTuple):
    """The turn for which a request waits once its body is complete. arrived: as in `FairTurns`."""

    turns: FairTurns
    client: str
    arrived: float


class RequestBody:
    """The body of one request, read within limits of size and time."""

    turn: ClientTurn | None = None  # set if clients take turns

    def __init__(self, receive: Receive, limit: int, seconds: float, memory: MemoryBudget) -> None:
        self.receive = receive
        self.limit = limit
        self._seconds = seconds
        self._memory = memory
        self.reservation: Reservation | None = None  # closed when the request ends
        self._complete = False
        self.requested = False  # whether reading has begun; uvicorn then sends an expected `100 Continue`
        self.waited = 0.0  # seconds of waiting for the client

    def reserve(self, size: int) -> None:
        """Reserve the memory for a body of this size. Raises OutOfMemory."""
        if needed := memory_of_body(size):
            self.open_reservation().grow(needed)

    def open_reservation(self) -> Reservation:
        """The reservation of this request in the memory budget. Call this on the event loop."""
        if self.reservation is None:
            self.reservation = Reservation(self._memory)
        return self.reservation

    async def read(self, headers: Mapping[bytes, bytes], plane: DataPlane) -> bytes:
        """Raises UnsupportedMediaType, BodyTooLarge, TooManyJsonNodes, BodyTooSlow, ClientDisconnected or BadBody."""
        length = int(headers.get(b"content-length", b"0"))
        if length > self.limit:
            raise BodyTooLarge(self.limit)
        self.reserve(length)
        coding = content_coding(headers) if b"content-encoding" in headers else b""
        whole = self._whole()
        try:
            waiting_for = whole.send(None)
        except StopIteration as done:  # already received, the common case: no timer is needed
            body: bytes = done.value
        else:
            try:
                with self._waiting():
                    async with asyncio.timeout(self._seconds):
                        body = await resume(whole, waiting_for)
            except TimeoutError:
                raise BodyTooSlow(self._seconds) from None
        if coding in CODINGS:
            self.reserve(min(self.limit, EXPANSION * len(body)))
            body = await plane.run_in_thread(decompress, body, coding, self.limit)
            self.reserve(len(body))
        if self.turn is not None:
            await self.take_turn(len(body))
        if len(body) > MIN_CHECKED_BYTES and is_json(headers) and BINARY_HEADER not in headers:
            check_json_size(body, plane)
        return body

    async def take_turn(self, size: int) -> None:
        """Wait for the client's turn before a body of this size is parsed."""
        if self.turn is not None:
            turns, client, arrived = self.turn
            if not turns.admits(client, size, arrived + self.waited):
                await turns.wait(client, size)

    async def peek(self, size: int) -> bytes:
        """The first bytes of the body. A later read starts at the beginning of the body again. Raises BodyTooSlow."""
        messages: list[Message] = []
        received = 0
        try:
            with self._waiting():
                async with asyncio.timeout(self._seconds):
                    self.requested = True
                    while received < size:
                        messages.append(message := await self.receive())
                        received += len(message.get("body", b""))
                        if not message.get("more_body"):
                            break
        except TimeoutError:
            raise BodyTooSlow(self._seconds) from None
        first = b"".join(message.get("body", b"") for message in messages)[:size]
        receive = self.receive

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        self.receive = replay
        return first

    async def _whole(self) -> bytes:
        self.requested = True
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
            self.reserve(size)
            if not message.get("more_body"):
                self._complete = True
                return b"".join(chunks)
            message = await self.receive()

    async def chunks(self, headers: Mapping[bytes, bytes], plane: DataPlane) -> AsyncGenerator[bytes, None]:
        """Yield the decompressed body in chunks as it arrives. Raises the same errors as `read`.

        The total time is not limited; each chunk has to arrive within the time that `read` allows for a whole body.
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
        """The next chunk. It has at least CHUNK_BYTES bytes, except at the end of the body."""
        chunks, size = [], 0
        try:
            with self._waiting():
                async with asyncio.timeout(self._seconds):
                    self.requested = True
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

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Count the time of a `with` block as waiting for the client."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.waited += time.monotonic() - started

    @property
    def complete(self) -> bool:
        """Whether the whole body has been received."""
        return self._complete

    async def finish(self, seconds: float) -> bool:
        """Read the rest of the body and drop it, within limits. Returns whether the body is complete."""
        left = LINGER_BYTES
        try:
            with self._waiting():
                async with asyncio.timeout(seconds):
                    while not self._complete and left > 0:
                        message = await self.receive()
                        left -= len(message.get("body", b""))
                        self._complete = message["type"] == "http.disconnect" or not message.get("more_body")
        except TimeoutError:
            pass
        return self._complete

    async def disconnected(self) -> None:
        """Wait until the client closes the connection. Await this only once the body is complete."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


@types.coroutine
def resume(coroutine: Coroutine[Any, Any, T], waiting_for: Any) -> Generator[Any, Any, T]:
    """Await a coroutine that was started with `send` and now waits for `waiting_for`."""
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


def check_json_size(body: bytes, plane: DataPlane) -> None:
    """Raises TooManyJsonNodes for more arrays, objects, names and values than the rows of a request may have.

    Parsing them would hold Python's lock for seconds and need fifty times the body's size in memory, before the rows
    can be counted.
    """
    most = NESTED_PER_ROW * plane.settings.max_rows
    count = body.count(b"[") + body.count(b"{")
    if count > most:
        raise TooManyJsonNodes(count, most)
    columns = max((len(model.schema.features) for model in plane.snapshot.champions), default=0)
    most = (plane.settings.max_rows + OTHER_OBJECTS) * (columns + OTHER_NAMES)
    if body.count(b":") > most and (count := body.translate(None, b" \t\r\n").count(b'":')) > most:
        raise TooManyJsonNodes(count, most, "names")
    if body.count(b",") >= most and (count := count_values(body)) > most:
        raise TooManyJsonNodes(count, most, "values")


def count_values(body: bytes) -> int:
    """The number of commas outside of strings in JSON, which is about the number of values."""
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    values, in_text = 1, 0
    for start in range(0, len(body), COUNTED_BYTES):
        content = np.frombuffer(body, np.uint8, min(COUNTED_BYTES, len(body) - start), start)
        quotes = np.cumsum(content == ord('"'), dtype=np.uint8) + np.uint8(in_text)  # modulo 256, which keeps parity
        values += int(np.count_nonzero(content[quotes % 2 == 0] == ord(",")))
        in_text = int(quotes[-1]) % 2
    return values
