"""Bodies and answers that are tables: JSON lines, CSV, Arrow, Parquet, each answered in its own form or in another.

What fits the limits of a request is read whole and answered whole. What is larger is read, predicted and answered block
by block: its 200 is sent when the first block is good, and what goes wrong later has its place in the answer.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from models.formats import (
    arrow_decoder,
    arrow_encoder,
    arrow_layout,
    blocks,
    csv_decoder,
    csv_encoder,
    ndjson_decoder,
    ndjson_encoder,
    parquet_decoder,
    parquet_encoder,
)
from models.formats.blocks import CHUNK_BYTES, Block, Decoder
from models.formats.encoders import Encoder
from models.formats.errors import EmptyTable
from models.rows import MAX_LISTED_ERRORS, ValidatedRows
from models.schema import FeatureSchema
from service.data_plane import LARGE_ROWS, DataPlane
from service.errors import ClientDisconnected, NotReady, RequestError, RowsNotValid, Unexpected
from service.http.body import Body
from service.http.negotiation import JSON_FORM, Form
from service.http.outbox import Outbox
from service.http.types import Header, Send
from service.protocols import native
from service.served_model import ServedModel
from service.validation import format_errors, request_error, require_valid

BLOCK_ROWS = 4096
LARGE_TEXT = 32 * 1024  # a body above it is read beside the event loop
LARGE_ARROW = 256 * 1024  # likewise, where pyarrow reads
ROOM_S = 0.02  # how often a full queue is looked at again
ROW_TEXT = 32  # bytes of JSON that a row takes at least, roughly
log = logging.getLogger("tabserve.streams")
T = TypeVar("T")


def decoder_of(form: Form, served: ServedModel, rows: int, plane: DataPlane) -> Decoder:
    schema, settings = served.model.schema, plane.settings
    if form.name == "ndjson":
        return ndjson_decoder.NdjsonDecoder(schema, rows, settings.max_body_bytes)
    if form.name == "csv":
        return csv_decoder.CsvDecoder(schema, rows, settings.max_body_bytes)
    if form.name == "arrow":
        return arrow_decoder.ArrowDecoder(schema, rows, settings.max_body_bytes)
    return parquet_decoder.ParquetDecoder(schema, rows, settings.max_stream_bytes)


def whole_block(form: Form, served: ServedModel, plane: DataPlane, content: bytes) -> Block | None:
    """A body as one block; None where its rows are more than one has."""
    most = plane.settings.max_rows
    if form.name == "arrow" and (block := arrow_layout.plain_block(served.model.schema, content, most)) is not None:
        return block
    with format_errors():
        return blocks.decode_whole(decoder_of(form, served, most, plane), content)


def encoder_of(form: Form, served: ServedModel, *, skip: bool) -> Encoder:
    if form.name == "json":
        return native.Stream(served.writer, skip=skip)
    if form.name == "ndjson":
        return ndjson_encoder.NdjsonEncoder(served.writer)
    if form.name == "csv":
        return csv_encoder.CsvEncoder(served.model)
    return (
        arrow_encoder.ArrowEncoder(served.table)
        if form.name == "arrow"
        else parquet_encoder.ParquetEncoder(served.table)
    )


class Exchange:
    """One request: its body read, predicted and answered. `begun`: an answer is on its way, or its start at least."""

    def __init__(
        self,
        plane: DataPlane,
        served: ServedModel,
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

    def _check(self, block: Block, encoder: Encoder, first_row: int = 0) -> Callable[[FeatureSchema], ValidatedRows]:
        max_errors = encoder.told if self.skip else MAX_LISTED_ERRORS

        def check(schema: FeatureSchema) -> ValidatedRows:
            validated = block.validate(schema, first_row=first_row, max_errors=max_errors)
            return require_valid(validated, skip=self.skip)

        return check

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
                    raise request_error(EmptyTable())
                last = await self.plane.beside(encoder.end)
            except ClientDisconnected:
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

        decoder = decoder_of(self.given, self.served, BLOCK_ROWS, self.plane)
        with contextlib.closing(decoder), format_errors():
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

    def validate(self, schema: FeatureSchema, *, first_row: int = 0, max_errors: int = 0) -> ValidatedRows:
        return native.validate_body(schema, self._body, "skip", self._max_rows)


async def sliced(content: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What was there first, in pieces too, and then the others."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]
    async for piece in pieces:
        yield piece
