"""Bodies and answers that are tables: JSON lines, CSV, Arrow, Parquet, each answered in its own form or in another.

What fits the limits of a request is read whole and answered whole. What is larger is read, predicted and answered block
by block: its 200 is sent when the first block is good, and what goes wrong later has its place in the answer.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

from models.fast import arrow_block
from models.formats import (
    arrow_decoder,
    arrow_encoder,
    blocks,
    csv_decoder,
    ndjson_decoder,
    ndjson_encoder,
    parquet_decoder,
    parquet_encoder,
)
from models.formats.blocks import CHUNK_BYTES, Block, Decoder
from models.formats.csv_encoder import CsvEncoder
from models.formats.encoders import Encoder
from models.formats.errors import EmptyTable
from models.formats.json_encoder import JsonEncoder, JsonWriter
from models.formats.record_batches import RecordBatchWriter
from models.rows import MAX_LISTED_ERRORS, ValidatedRows
from models.schema import FeatureSchema
from service.data_plane import LARGE_ROWS, DataPlane, PredictionContext, RowsValidator
from service.error_mapping import format_errors, request_error, require_valid
from service.errors import ClientDisconnected, InternalError, NotReady, RequestError
from service.http.asgi_types import Header
from service.http.http_exchange import HttpExchange
from service.http.negotiation import JSON_FORMAT, BodyFormat
from service.http.response_buffer import ResponseBuffer
from service.protocols import native
from service.served_model import ServedModel

BLOCK_ROWS = 4096
LARGE_TEXT = 32 * 1024  # a body above it is read beside the event loop
LARGE_ARROW = 256 * 1024  # likewise, where pyarrow reads
ROOM_S = 0.02  # how often a full queue is looked at again
ROW_TEXT = 32  # bytes of JSON that a row takes at least, roughly
log = logging.getLogger("tabserve.http")
T = TypeVar("T")


def decoder_for(form: BodyFormat, served: ServedModel, rows: int, plane: DataPlane) -> Decoder:
    schema, settings = served.model.schema, plane.settings
    if form.name == "ndjson":
        return ndjson_decoder.NdjsonDecoder(schema, rows, settings.max_body_bytes)
    if form.name == "csv":
        return csv_decoder.CsvDecoder(schema, rows, settings.max_body_bytes)
    if form.name == "arrow":
        return arrow_decoder.ArrowDecoder(schema, rows, settings.max_body_bytes)
    return parquet_decoder.ParquetDecoder(schema, rows, settings.max_stream_bytes)


def whole_block(form: BodyFormat, served: ServedModel, plane: DataPlane, content: bytes) -> Block | None:
    """A body as one block; None where its rows are more than one has."""
    most = plane.settings.max_rows
    if form.name == "arrow" and (block := arrow_block.common_block(served.model.schema, content, most)) is not None:
        return block
    with format_errors():
        return blocks.decode_whole(decoder_for(form, served, most, plane), content)


def encoder_for(form: BodyFormat, served: ServedModel, *, skip: bool) -> Encoder:
    if form.name == "json":
        return JsonEncoder(served.compiled(JsonWriter), skip=skip)
    if form.name == "ndjson":
        return ndjson_encoder.NdjsonEncoder(served.compiled(JsonWriter))
    if form.name == "csv":
        return served.compiled(CsvEncoder)
    return (
        arrow_encoder.ArrowEncoder(served.compiled(RecordBatchWriter))
        if form.name == "arrow"
        else parquet_encoder.ParquetEncoder(served.compiled(RecordBatchWriter))
    )


class TableHandler:
    """The part of an exchange in which a table is read, predicted and answered, whole or block by block."""

    def __init__(
        self, exchange: HttpExchange, served: ServedModel, formats: tuple[BodyFormat, BodyFormat], *, skip: bool
    ) -> None:
        self.exchange = exchange
        self.plane = exchange.context.plane
        self.served = served
        self.given, self.wanted = formats
        self.body = exchange.body
        self.headers = exchange.headers
        self.seconds = exchange.timeout()
        self.skip = skip

    async def handle(self) -> None:
        """Raises RequestError, after the start only where nobody is left to be told."""
        if self.given is JSON_FORMAT:
            await self._answer_whole(JsonBlock(await self.exchange.read(), self.plane))
            return
        async with contextlib.aclosing(self.body.chunks(self.headers, self.plane)) as pieces:
            content, all_there = await self._beginning(pieces)
            if all_there:
                large = self._large(content)
                block = await self._perhaps_in_thread(large, whole_block, self.given, self.served, self.plane, content)
                if block is not None:
                    await self._answer_whole(block)
                    return
            await self._answer_in_blocks(content, pieces)

    async def _perhaps_in_thread(self, large: bool, work: Callable[..., T], *arguments: Any) -> T:
        return await self.plane.run_in_thread(work, *arguments) if large else work(*arguments)

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
        return len(content) > (LARGE_ARROW if self.given.needs_pyarrow else LARGE_TEXT)

    async def _answer_whole(self, block: Block) -> None:
        encoder = encoder_for(self.wanted, self.served, skip=self.skip)
        call = self.exchange.prediction_context._replace(deadline=time.monotonic() + self.seconds)
        large = block.count > LARGE_ROWS
        rows, answers = await self.plane.predict(self.served, self._validate(block, encoder), call, large=large)

        def write() -> bytes:
            if self.wanted is JSON_FORMAT:
                return self.served.compiled(JsonWriter).write(rows, answers, skip=self.skip)
            return encoder.head() + encoder.block(rows, answers, 0) + encoder.end()

        content = await self._perhaps_in_thread(rows.count > LARGE_ROWS, write)
        await self._start(encoder, [(b"content-length", b"%d" % len(content))])
        await self.exchange.send({"type": "http.response.body", "body": content})

    def _validate(self, block: Block, encoder: Encoder, first_row: int = 0) -> RowsValidator:
        max_errors = encoder.max_errors if self.skip else MAX_LISTED_ERRORS

        def validate(schema: FeatureSchema) -> ValidatedRows:
            rows = block.validate(schema, first_row=first_row, max_errors=max_errors)
            return require_valid(rows, skip=self.skip)

        return validate

    async def _start(self, encoder: Encoder, more: Iterable[Header] = ()) -> None:
        self.exchange.begun = True
        headers = [(b"content-type", encoder.content_type), *more, *self.exchange.common_headers]
        await self.exchange.send({"type": "http.response.start", "status": 200, "headers": headers})

    # In blocks

    async def _answer_in_blocks(self, content: bytes, pieces: AsyncIterator[bytes]) -> None:
        exchange = self.exchange
        encoder = encoder_for(self.wanted, self.served, skip=self.skip)
        outbox = ResponseBuffer(self.plane, self.body, self.exchange.send, self.seconds)
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
                last = await self.plane.run_in_thread(encoder.end)
            except ClientDisconnected:
                raise
            except (RequestError, asyncio.CancelledError) as error:
                if not exchange.begun:
                    raise
                exchange.failed = error if isinstance(error, RequestError) else NotReady("the server stops")
                last = encoder.stop(exchange.failed)
            except Exception:
                if not exchange.begun:
                    raise
                log.exception("request failed", extra={"request_id": exchange.id_text})
                exchange.failed = InternalError()
                last = encoder.stop(exchange.failed)
            await outbox.end(last)

    async def _blocks(self, content: bytes, pieces: AsyncIterator[bytes]) -> AsyncGenerator[Block, None]:
        """The body block by block, as it comes. All work on it is done beside the event loop."""

        async def taken_out(of: Callable[[], Iterator[Block]]) -> AsyncIterator[Block]:
            made = await self.plane.run_in_thread(of)
            while (block := await self.plane.run_in_thread(next, made, None)) is not None:
                yield block

        decoder = decoder_for(self.given, self.served, BLOCK_ROWS, self.plane)
        with contextlib.closing(decoder), format_errors():
            async for piece in sliced(content, pieces):
                async for block in taken_out(functools.partial(decoder.feed, piece)):
                    yield block
            async for block in taken_out(decoder.rest):
                yield block

    async def _predict(self, block: Block, encoder: Encoder, row: int) -> bytes:
        """The answer of a block. The first finds a full queue like any request; the others wait for room in it."""
        call = PredictionContext(time.monotonic() + self.seconds, self.exchange.id_text)
        rows = await self.plane.validate(self.served, self._validate(block, encoder, row), large=True)
        if row:
            await self._room(len(rows.frame.numbers), call.deadline)
        answers = await self.plane.predict_validated(self.served, rows, call)  # till the queue nothing else runs
        return await self.plane.run_in_thread(encoder.block, rows, answers, row)

    async def _room(self, rows: int, deadline: float) -> None:
        counters, most = self.served.counters, self.plane.settings.queue_rows
        while counters.queue_rows and counters.queue_rows + rows > most and time.monotonic() < deadline:
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
