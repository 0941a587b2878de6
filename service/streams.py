"""Bodies and answers that are tables: JSON lines, CSV, Arrow, Parquet, each answered in its own form or in another.

What fits the limits of a request is read whole and answered whole. What is larger is read, predicted and answered block
by block: its 200 is sent when the first block is good, and what goes wrong later has its place in the answer.
"""

import asyncio
import contextlib
import functools
import logging
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple, Self, TypeVar

from models.rows import MAX_LISTED_ERRORS
from models.schema import FeatureSchema
from models.text import short
from service.body import JSON_TYPES, Body, Header, Send
from service.dataplane import LARGE_ROWS, DataPlane, Served
from service.errors import (
    ClientGone,
    NotAcceptable,
    NotReady,
    RequestError,
    RowsNotValid,
    Unexpected,
    UnsupportedMediaType,
)
from service.protocols import arrow, blocks, csv_text, native, ndjson
from service.protocols.blocks import SLICE, Block, Decoder, Encoder
from service.protocols.native import Accepted

BLOCK_ROWS = 4096
LARGE_TEXT = 32 * 1024  # a body above it is read beside the event loop
LARGE_ARROW = 256 * 1024  # likewise, where pyarrow reads
HELD_BYTES = 1024**2  # of an answer that waits to be sent; more goes to a temporary file, or waits for the client
ROOM_S = 0.02  # how often a full queue is looked at again
ROW_TEXT = 32  # bytes of JSON that a row takes at least, roughly

log = logging.getLogger("tabserve.streams")
T = TypeVar("T")


class Form(NamedTuple):
    """A form that bodies and answers have; `name` is the label of metrics."""

    name: str
    kinds: tuple[bytes, ...]  # media types, our own first
    by_pyarrow: bool = False


JSON_FORM = Form("json", (b"application/json",))
FORMS = (
    JSON_FORM,
    Form("ndjson", (b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/x-jsonlines")),
    Form("csv", (b"text/csv", b"application/csv")),
    Form("arrow", (b"application/vnd.apache.arrow.stream",), by_pyarrow=True),
    Form("parquet", (b"application/vnd.apache.parquet", b"application/x-parquet"), by_pyarrow=True),
)
BY_KIND = {kind: form for form in FORMS for kind in form.kinds}
ANYTHING = frozenset([b"*/*", b"application/json"])  # the ways of asking for JSON that need no thought
EXTRA = "needs pyarrow, which is not installed here (pip install 'tabserve[arrow]')"


# What was sent, and what is wanted


def plain(headers: Mapping[bytes, bytes]) -> bool:
    """Whether it is JSON in, JSON out, as can be seen at once."""
    return headers.get(b"content-type", b"") in JSON_TYPES and headers.get(b"accept", b"*/*") in ANYTHING


def negotiate(headers: Mapping[bytes, bytes]) -> tuple[Form, Form]:
    """The form of the body, and of the answer. Raises UnsupportedMediaType or NotAcceptable."""
    content_type, accept = headers.get(b"content-type", b""), headers.get(b"accept", b"")
    given = form_of(content_type)
    if given.by_pyarrow and not arrow.installed():
        raise UnsupportedMediaType(f"content type {short(content_type.decode('latin-1'))!r} {EXTRA}")
    best = wanted(accept, given)
    if best.by_pyarrow and not arrow.installed():
        raise NotAcceptable(f"an answer as {best.kinds[0].decode()} {EXTRA}")
    return given, best


@functools.lru_cache(64)
def form_of(kind: bytes) -> Form:
    """Raises UnsupportedMediaType."""
    media, *parameters = [part.strip().lower() for part in kind.split(b";")]
    form = BY_KIND.get(media) if media else JSON_FORM
    told = dict(parameter.partition(b"=")[::2] for parameter in parameters)
    charset, header = (told.get(name, b"").strip(b'"') for name in (b"charset", b"header"))
    text = short(kind.decode("latin-1"))
    if form is None or charset not in (b"", b"utf-8", b"utf8", b"us-ascii"):
        listed = ", ".join(form.kinds[0].decode() for form in FORMS)
        raise UnsupportedMediaType(f"content type {text!r} is not supported, expected one of {listed}, text in UTF-8")
    if header == b"absent":
        raise UnsupportedMediaType(f"content type {text!r} is not supported: a CSV needs a header line")
    return form


@functools.lru_cache(64)
def wanted(accept: bytes, given: Form) -> Form:
    """What is liked best of what can be had; the body's own form where that is liked as well. Raises NotAcceptable."""
    if not accept.strip():
        return given
    liked = dict(map(quality, accept.lower().split(b",")))

    def how_much(form: Form) -> float:
        of_form = [liked[kind] for kind in form.kinds if kind in liked]
        group = form.kinds[0].partition(b"/")[0] + b"/*"
        return max(of_form) if of_form else liked.get(group, liked.get(b"*/*", 0.0))

    best = max((given, *FORMS), key=how_much)
    if not how_much(best):
        text, listed = short(accept.decode("latin-1")), ", ".join(form.kinds[0].decode() for form in FORMS)
        raise NotAcceptable(f"answers are not given as {text!r}, but as one of {listed}")
    return best


def quality(part: bytes) -> tuple[bytes, float]:
    media, *parameters = [one.strip() for one in part.split(b";")]
    given = dict(parameter.partition(b"=")[::2] for parameter in parameters).get(b"q", b"1")
    try:
        return media, min(max(float(given), 0.0), 1.0)
    except ValueError:
        return media, 0.0


def decoder_of(form: Form, served: Served, rows: int, plane: DataPlane) -> Decoder:
    schema, settings = served.model.schema, plane.settings
    if form.name == "ndjson":
        return ndjson.Decoder(schema, rows, settings.max_body_bytes)
    if form.name == "csv":
        return csv_text.Decoder(schema, rows, settings.max_body_bytes)
    if form.name == "arrow":
        return arrow.ArrowDecoder(schema, rows, settings.max_body_bytes)
    return arrow.ParquetDecoder(schema, rows, settings.max_stream_bytes)


def whole_block(form: Form, served: Served, plane: DataPlane, content: bytes) -> Block | None:
    """A body as one block; None where its rows are more than one has."""
    most = plane.settings.max_rows
    if form.name == "arrow" and (block := arrow.plain_block(served.model.schema, content, most)) is not None:
        return block
    return blocks.whole(decoder_of(form, served, most, plane), content)


def encoder_of(form: Form, served: Served, *, skip: bool) -> Encoder:
    if form.name == "json":
        return native.Stream(served.writer, skip=skip)
    if form.name == "ndjson":
        return ndjson.Encoder(served.writer)
    if form.name == "csv":
        return csv_text.Encoder(served.model)
    return arrow.ArrowEncoder(served.table) if form.name == "arrow" else arrow.ParquetEncoder(served.table)


# The request


class Exchange:
    """One request: its body read, predicted and answered. `begun`: an answer is on its way, or its start at least."""

    def __init__(
        self,
        plane: DataPlane,
        served: Served,
        forms: tuple[Form, Form],
        body: Body,
        headers: Mapping[bytes, bytes],
        send: Send,
        *,
        more: Iterable[Header],
        seconds: float,
        skip: bool,
        request_id: str,
    ) -> None:
        self.plane = plane
        self.served = served
        self.given, self.wanted = forms
        self.body = body
        self.headers = headers
        self.send = send
        self.more = more
        self.seconds = seconds
        self.skip = skip
        self.request_id = request_id
        self.begun = False
        self.failed: RequestError | None = None  # after the start

    async def answer(self) -> None:
        """Raises RequestError, after the start only where nobody is left to be told."""
        if self.given is JSON_FORM:
            await self._answer_whole(JsonBlock(await self.body.read(self.headers, self.plane), self.plane))
            return
        async with contextlib.aclosing(self.body.pieces(self.headers, self.plane)) as pieces:
            content, all_there = await self._beginning(pieces)
            if all_there:
                large = self._large(content)
                block = await self._perhaps_beside(large, whole_block, self.given, self.served, self.plane, content)
                if block is not None:
                    await self._answer_whole(block)
                    return
            await self._answer_in_blocks(content, pieces)

    async def _perhaps_beside(self, large: bool, work: Callable[..., T], *arguments: Any) -> T:
        return await self.plane.beside(work, *arguments) if large else work(*arguments)

    # Whole

    async def _beginning(self, pieces: AsyncIterator[bytes]) -> tuple[bytes, bool]:
        """The body as far as it is of a size to be read whole, and whether that is all of it."""
        most, size = self.plane.settings.max_body_bytes, 0
        told = int(self.headers.get(b"content-length", b"0"))
        if told > most:
            return b"", False
        if 0 < told <= LARGE_ARROW and b"content-encoding" not in self.headers:
            return await self.body.read(self.headers, self.plane), True
        content = []
        async for piece in pieces:
            content.append(piece)
            size += len(piece)
            if size > most:
                return b"".join(content), False
        return content[0] if len(content) == 1 else b"".join(content), True

    def _large(self, content: bytes) -> bool:
        if self.given.name == "parquet":
            return True
        return len(content) > (LARGE_ARROW if self.given.by_pyarrow else LARGE_TEXT)

    async def _answer_whole(self, block: Block) -> None:
        encoder = encoder_of(self.wanted, self.served, skip=self.skip)
        accepted, answers = await self.plane.predict_checked(
            self.served.model.name,
            self._check(block, encoder),
            large=block.count > LARGE_ROWS,
            deadline=time.monotonic() + self.seconds,
            request_id=self.request_id,
            gone=self.body.gone,
        )

        def write() -> bytes:
            if self.wanted is JSON_FORM:
                return self.served.writer.write(accepted, answers, skip=self.skip)
            return encoder.head() + encoder.block(accepted, answers, 0) + encoder.end()

        content = await self._perhaps_beside(accepted.count > LARGE_ROWS, write)
        await self._start(encoder, [(b"content-length", b"%d" % len(content))])
        await self.send({"type": "http.response.body", "body": content})

    def _check(self, block: Block, encoder: Encoder, first_row: int = 0) -> Callable[[FeatureSchema], Accepted]:
        most = encoder.told if self.skip else MAX_LISTED_ERRORS
        return functools.partial(block.accept, skip=self.skip, first_row=first_row, most=most)

    async def _start(self, encoder: Encoder, more: Iterable[Header] = ()) -> None:
        self.begun = True
        headers = [(b"content-type", encoder.kind), *more, *self.more]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})

    # In blocks

    async def _answer_in_blocks(self, content: bytes, pieces: AsyncIterator[bytes]) -> None:
        encoder = encoder_of(self.wanted, self.served, skip=self.skip)
        outbox = Outbox(self.plane, self.body, self.send, self.seconds)
        row = 0
        async with outbox, contextlib.aclosing(self._blocks(content, pieces)) as all_blocks:
            try:
                async for block in all_blocks:
                    written = await self._predict(block, encoder, row)
                    if not row:
                        await self._start(encoder)
                        written = encoder.head() + written
                    row += block.count
                    await outbox.put(written)
                if not row:
                    raise blocks.empty()
                last = await self.plane.beside(encoder.end)
            except ClientGone:
                raise
            except (RequestError, asyncio.CancelledError) as error:
                if not self.begun:
                    raise
                self.failed = error if isinstance(error, RequestError) else NotReady("the server stops")
                last = encoder.stop(self.failed)
            except Exception:
                if not self.begun:
                    raise
                log.exception("request failed", extra={"request_id": self.request_id})
                self.failed = Unexpected()
                last = encoder.stop(self.failed)
            await outbox.end(last)

    async def _blocks(self, content: bytes, pieces: AsyncIterator[bytes]) -> AsyncGenerator[Block, None]:
        """The body block by block, as it comes. All work on it is done beside the event loop."""

        async def taken_out(of: Callable[[], Iterator[Block]]) -> AsyncIterator[Block]:
            made = await self.plane.beside(of)
            while (block := await self.plane.beside(next, made, None)) is not None:
                yield block

        with contextlib.closing(decoder_of(self.given, self.served, BLOCK_ROWS, self.plane)) as decoder:
            async for piece in sliced(content, pieces):
                async for block in taken_out(functools.partial(decoder.feed, piece)):
                    yield block
            async for block in taken_out(decoder.rest):
                yield block

    async def _predict(self, block: Block, encoder: Encoder, row: int) -> bytes:
        """The answer of a block. The first finds a full queue like any request; the others wait for room in it."""
        deadline = time.monotonic() + self.seconds
        try:
            accepted = await self.plane.beside(self._check(block, encoder, row), self.served.model.schema)
        except RowsNotValid as error:
            self.served.tally.verdict(error.valid, error.invalid)
            raise
        if row:
            await self._room(len(accepted.frame.numbers), deadline)
        _, answers = await self.plane.predict_checked(  # from here to the queue nothing else runs
            self.served.model.name, lambda _: accepted, deadline=deadline, request_id=self.request_id
        )
        return await self.plane.beside(encoder.block, accepted, answers, row)

    async def _room(self, rows: int, deadline: float) -> None:
        tally, most = self.served.tally, self.plane.settings.queue_rows
        while tally.queue_rows and tally.queue_rows + rows > most and time.monotonic() < deadline:
            await asyncio.sleep(ROOM_S)


class JsonBlock:
    """The native body, which is always whole."""

    def __init__(self, body: bytes, plane: DataPlane) -> None:
        self._body = body
        self._max_rows = plane.settings.max_rows
        self.count = len(body) // ROW_TEXT  # a guess, that only says whether it is large

    def accept(self, schema: FeatureSchema, *, skip: bool = False, first_row: int = 0, most: int = 0) -> Accepted:
        return native.read(schema, self._body, "skip" if skip else "fail", self._max_rows)


async def sliced(content: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What was there first, in pieces too, and then the others."""
    for start in range(0, len(content), SLICE):
        yield content[start : start + SLICE]
    async for piece in pieces:
        yield piece


class Outbox:
    """What is to be sent, by a task of its own: many clients send all of their body before they read a byte, and who
    waited for them to read would wait for ever.

    While the body comes, what the client does not read goes to a temporary file; once it is there, it is waited for.
    """

    def __init__(self, plane: DataPlane, body: Body, send: Send, seconds: float) -> None:
        self._plane = plane
        self._body = body
        self._send = send
        self._seconds = seconds
        self._held: deque[bytes] = deque()
        self._file: IO[bytes] | None = None
        self._written = self._read = self._bytes = 0
        self._ended = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._gone: asyncio.Future[None] | None = None  # looked out for once the body is there

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self._gone:
            self._gone.cancel()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._file:
            self._file.close()

    async def put(self, content: bytes) -> None:
        """Raises ClientGone when nobody takes it."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        if self._gone is None and self._body.complete:
            self._gone = asyncio.ensure_future(self._body.gone())
        while self._waits():
            self._emptied.clear()
            emptied = asyncio.ensure_future(self._emptied.wait())
            await asyncio.wait([emptied, self._task], return_when=asyncio.FIRST_COMPLETED)
            emptied.cancel()
        if self._task.done() or (self._gone and self._gone.done()):
            raise ClientGone
        if self._written or (self._bytes > HELD_BYTES and not self._body.complete):
            await self._plane.beside(self._write, content)
        else:
            self._held.append(content)
            self._bytes += len(content)
        self._filled.set()

    def _waits(self) -> bool:
        assert self._task
        on_disk = self._written - self._read
        if self._task.done():
            return False
        if self._body.complete:
            return self._bytes + on_disk > HELD_BYTES
        return on_disk > self._plane.settings.max_stream_bytes

    async def end(self, last: bytes) -> None:
        """Put the last, and wait until all is sent."""
        await self.put(last)
        assert self._task
        self._ended = True
        self._filled.set()
        await asyncio.wait([self._task])
        if self._task.cancelled() or self._task.exception():
            raise ClientGone

    async def _run(self) -> None:
        while True:
            if self._held:
                content = self._held.popleft()
                self._bytes -= len(content)
            elif self._written:
                content = await self._plane.beside(self._take)
            elif self._ended:
                await self._deliver(b"", more=False)
                return
            else:
                self._filled.clear()
                await self._filled.wait()
                continue
            if content:
                await self._deliver(content)
            self._emptied.set()

    async def _deliver(self, content: bytes, *, more: bool = True) -> None:
        """Raises ClientGone where the client takes nothing, although it has sent all of its body."""
        sending = asyncio.ensure_future(self._send({"type": "http.response.body", "body": content, "more_body": more}))
        try:
            while not sending.done():
                all_there = self._body.complete
                done, _ = await asyncio.wait([sending], timeout=self._seconds)
                if not done and all_there:
                    raise ClientGone
            sending.result()
        finally:
            sending.cancel()

    # The file; both run in the one thread beside the event loop

    def _write(self, content: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the exchange ends
        self._file.seek(self._written)
        self._file.write(content)
        self._written += len(content)

    def _take(self) -> bytes:
        assert self._file
        self._file.seek(self._read)
        content = self._file.read(SLICE)
        self._read += len(content)
        if self._read == self._written:
            self._file.truncate(0)
            self._read = self._written = 0
        return content
