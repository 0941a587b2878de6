"""Handles requests and responses that are tables: NDJSON, CSV, Arrow and Parquet, in any combination, or JSON.

A body within the limits of a single request is read as a whole and answered as a whole. A larger body is streamed
block by block: the response starts when the body is complete (`response_buffer.py`). A later error is written into it
and ends the connection.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from models.fast import arrow_block, number_blocks
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
from models.formats.blocks import CHUNK_BYTES, Block, InputsBlock, TableDecoder
from models.formats.csv_encoder import CsvEncoder
from models.formats.csv_inputs_encoder import CsvInputsEncoder
from models.formats.encoders import TableEncoder
from models.formats.errors import EmptyTable
from models.formats.json_encoder import JsonEncoder, JsonWriter
from models.formats.record_batches import RecordBatchWriter
from models.outputs import Outputs
from models.rows import MAX_LISTED_ERRORS, ValidatedRows
from models.schema import FeatureSchema
from service.data_plane import LARGE_ROWS, DataPlane, PredictionContext, RowsValidator
from service.error_mapping import request_error, require_valid, translate_format_errors
from service.errors import ClientDisconnected, TooManyRows
from service.http.asgi_types import Header
from service.http.compression import Compressor, negotiated_coding
from service.http.http_exchange import HttpExchange, Response, version_header
from service.http.negotiation import JSON_FORMAT, BodyFormat
from service.http.response_buffer import ResponseBuffer
from service.protocols import native
from service.served_model import ServedModel

BLOCK_ROWS = 4096
STREAM_BYTES = 8 * 1024**2  # a stream is in memory block by block, so it reserves memory for this size
INVALID_ROW_WORK = 10  # an invalid row costs as much as 10 valid rows, because of its errors
LARGE_TEXT_BYTES = 32 * 1024  # a larger body is decoded in a thread
LARGE_ARROW_BYTES = 256 * 1024  # the same limit for the formats that pyarrow decodes
COMMON_BYTES = 256 * 1024  # the same limit for `common_block`
QUEUE_POLL_S = 0.02  # interval between two checks of a full queue
MIN_ROW_BYTES = 32  # the approximate size of the smallest row in JSON
T = TypeVar("T")
Reserve = Callable[[int], None]


class TableOptions(NamedTuple):
    skip: bool = False  # invalid rows
    inputs: bool = False  # write the columns of the body, too, for a CSV response to Parquet


def decoder_for(
    body_format: BodyFormat, served: ServedModel, rows: int, plane: DataPlane, reserve: Reserve, *, inputs: bool
) -> TableDecoder:
    """The decoder of a body. reserve: called with the bytes that decoding needs, in the decoding thread."""
    schema, settings = served.model.schema, plane.settings
    if body_format.name == "ndjson":
        return ndjson_decoder.NdjsonDecoder(schema, rows, settings.max_body_bytes)
    if body_format.name == "csv":
        return csv_decoder.CsvDecoder(schema, rows, settings.max_body_bytes, body_format.encoding)
    if body_format.name == "arrow":
        return arrow_decoder.ArrowDecoder(schema, rows, settings.max_body_bytes)
    return parquet_decoder.ParquetDecoder(schema, rows, settings.max_stream_bytes, reserve, inputs=inputs)


def whole_block(decoder: TableDecoder, content: bytes) -> Block | None:
    """Decode a body as one block; None if it has too many rows for one block."""
    with translate_format_errors():
        return blocks.decode_whole(decoder, content)


def common_block(body_format: BodyFormat, schema: FeatureSchema, content: bytes, max_rows: int) -> Block | None:
    """Decode a body with a fast path; None if it has to be decoded by `whole_block`."""
    if body_format.name == "arrow":
        return arrow_block.common_block(schema, content, max_rows)
    if body_format.name == "ndjson":
        return number_blocks.common_ndjson(schema, content, max_rows)
    if body_format.name == "csv" and body_format.encoding is None:
        return number_blocks.common_csv(schema, content, max_rows)
    return None


def encoder_for(body_format: BodyFormat, served: ServedModel, options: TableOptions) -> TableEncoder:
    if options.inputs:
        return CsvInputsEncoder(served.compiled(CsvEncoder))
    if body_format.name == "json":
        return JsonEncoder(served.compiled(JsonWriter), skip=options.skip)
    if body_format.name == "ndjson":
        return ndjson_encoder.NdjsonEncoder(served.compiled(JsonWriter))
    if body_format.name == "csv":
        return served.compiled(CsvEncoder)
    return (
        arrow_encoder.ArrowEncoder(served.compiled(RecordBatchWriter))
        if body_format.name == "arrow"
        else parquet_encoder.ParquetEncoder(served.compiled(RecordBatchWriter))
    )


def encode_block(encoder: TableEncoder, block: Block, rows: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
    if isinstance(block, InputsBlock) and isinstance(encoder, CsvInputsEncoder):
        return encoder.block_with_inputs(block.inputs, rows, outputs, first_row)
    return encoder.block(rows, outputs, first_row)


class TableHandler:
    """Reads one table, predicts its rows and sends the response, whole or block by block."""

    def __init__(
        self,
        exchange: HttpExchange,
        served: ServedModel,
        formats: tuple[BodyFormat, BodyFormat],
        options: TableOptions,
    ) -> None:
        self.exchange = exchange
        self.plane = exchange.context.plane
        self.served = served
        self.body_format, self.response_format = formats
        self.body = exchange.body
        self.reserve: Reserve = self.body.open_reservation().grow
        self.headers = exchange.headers
        self.timeout_s = exchange.timeout()
        self.options = options
        self._work = 0  # rows of a stream so far; an invalid row counts as several rows

    async def handle(self) -> Response | None:
        """Read the body. Returns the response, or None if it was sent block by block.

        Raises RequestError, but only ClientDisconnected once the response has started.
        """
        if self.body_format is JSON_FORMAT:
            return await self._predict_whole(JsonBlock(await self.exchange.read(), self.plane))
        async with contextlib.aclosing(self.body.chunks(self.headers, self.plane)) as chunks:
            content, is_complete = await self._read_start(chunks)
            if is_complete:
                block = await self._whole_block(content)
                if block is not None:
                    return await self._predict_whole(block)
            await self._stream_blocks(content, chunks)
            return None

    async def _run(self, large: bool, work: Callable[..., T], *arguments: Any) -> T:
        return await self.plane.run_in_thread(work, *arguments) if large else work(*arguments)

    # A table in one block

    async def _read_start(self, chunks: AsyncIterator[bytes]) -> tuple[bytes, bool]:
        """The beginning of the body, up to the limit of a single request, and whether it is the whole body."""
        limit, size = self.plane.settings.max_body_bytes, 0
        length = int(self.headers.get(b"content-length", b"0"))
        if length > limit:
            self.body.reserve(STREAM_BYTES)
            return b"", False
        if 0 < length <= LARGE_ARROW_BYTES and b"content-encoding" not in self.headers:
            return await self.body.read(self.headers, self.plane), True
        content = []
        async for chunk in chunks:
            content.append(chunk)
            size += len(chunk)
            self.body.reserve(min(size, STREAM_BYTES))
            if size > limit:
                return b"".join(content), False
        await self.body.take_turn(size)
        return content[0] if len(content) == 1 else b"".join(content), True

    async def _whole_block(self, content: bytes) -> Block | None:
        schema, limit = self.served.model.schema, self.plane.settings.max_rows
        block = await self._run(len(content) > COMMON_BYTES, common_block, self.body_format, schema, content, limit)
        if block is not None:
            return block
        return await self._run(self._large(content), lambda: whole_block(self._decoder(limit), content))

    def _decoder(self, block_rows: int) -> TableDecoder:
        served, inputs = self.served, self.options.inputs
        return decoder_for(self.body_format, served, block_rows, self.plane, self.reserve, inputs=inputs)

    def _large(self, content: bytes) -> bool:
        if self.body_format.name == "parquet":
            return True
        return len(content) > (LARGE_ARROW_BYTES if self.body_format.needs_pyarrow else LARGE_TEXT_BYTES)

    async def _predict_whole(self, block: Block) -> Response:
        encoder = encoder_for(self.response_format, self.served, self.options)
        context = self.exchange.prediction_context._replace(deadline=time.monotonic() + self.timeout_s)
        large = block.count > LARGE_ROWS
        rows, outputs = await self.plane.predict(self.served, self._validate(block, encoder), context, large=large)

        def write() -> bytes:
            if self.response_format is JSON_FORMAT:
                return self.served.compiled(JsonWriter).write(rows, outputs, skip=self.options.skip)
            written = encode_block(encoder, block, rows, outputs, 0)
            return encoder.head() + written + encoder.end()

        large = rows.count > LARGE_ROWS or self.options.inputs  # a few rows may have megabytes of text
        text = await self._run(large, write)
        return Response(text, encoder.content_type, headers=self._version_header())

    def _version_header(self) -> Sequence[Header]:
        """The header with the version, for a response whose body does not contain it."""
        return () if self.response_format is JSON_FORMAT else (version_header(self.served),)

    def _validate(self, block: Block, encoder: TableEncoder, first_row: int = 0) -> RowsValidator:
        max_errors = encoder.max_errors if self.options.skip else MAX_LISTED_ERRORS

        def validate(schema: FeatureSchema) -> ValidatedRows:
            rows = block.validate(schema, first_row=first_row, max_errors=max_errors)
            return require_valid(rows, skip=self.options.skip)

        return validate

    # A table block by block

    async def _stream_blocks(self, content: bytes, chunks: AsyncIterator[bytes]) -> None:
        encoder = encoder_for(self.response_format, self.served, self.options)
        coding, coding_headers = negotiated_coding(self.headers, encoder.content_type)
        compressor = Compressor(coding) if coding else None
        headers = [(b"content-type", encoder.content_type), *coding_headers, *self._version_header()]
        buffer = ResponseBuffer(self.exchange, headers, self.timeout_s)
        row, failed = 0, False
        async with buffer, contextlib.aclosing(self._blocks(content, chunks)) as decoded_blocks:
            try:
                async for block in decoded_blocks:
                    written = await self._predict(block, encoder, row)
                    if not row:
                        written = encoder.head() + written
                    row += block.count
                    if compressor:
                        written = await self.plane.run_in_thread(compressor.feed, written)
                    await buffer.put(written)
                if not row:
                    raise request_error(EmptyTable())
                last = await self.plane.run_in_thread(encoder.end)
            except ClientDisconnected:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if buffer.withdraw():
                    raise
                self.exchange.fail(error)
                assert self.exchange.failed
                last, failed = encoder.stop(self.exchange.failed), True
            await buffer.end(compressor.end(last) if compressor else last, failed=failed)

    async def _blocks(self, content: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Block, None]:
        """Yield the body block by block as it arrives. Decoding runs in the data plane's thread."""

        async def in_thread(start: Callable[[], Iterator[Block]]) -> AsyncIterator[Block]:
            decoded = await self.plane.run_in_thread(start)
            while (block := await self.plane.run_in_thread(next, decoded, None)) is not None:
                yield block

        decoder = self._decoder(BLOCK_ROWS)
        with contextlib.closing(decoder), translate_format_errors():
            async for chunk in rechunk(content, chunks):
                async for block in in_thread(functools.partial(decoder.feed, chunk)):
                    yield block
            async for block in in_thread(decoder.rest):
                yield block

    async def _predict(self, block: Block, encoder: TableEncoder, row: int) -> bytes:
        """Predict and encode one block. If the queue is full, the first block is refused; later blocks wait for
        space."""
        deadline = time.monotonic() + self.timeout_s
        exchange = self.exchange
        context = PredictionContext(
            deadline, exchange.id_text, None, exchange.count_rows, not row, exchange.caller.name
        )
        rows = await self.plane.validate(self.served, self._validate(block, encoder, row), large=True)
        if row:
            await self._wait_for_room(len(rows.frame.numbers), context.deadline)
        # No other task runs between the last check of the queue and this request's entry into it
        outputs = await self.plane.predict_validated(self.served, rows, context)
        self._count_work(rows.count, len(outputs))
        return await self.plane.run_in_thread(encode_block, encoder, block, rows, outputs, row)

    def _count_work(self, rows: int, valid: int) -> None:
        """Count the rows of a stream. Raises TooManyRows if it has more rows than a request may have."""
        self._work += valid + INVALID_ROW_WORK * (rows - valid)
        if self._work > (limit := self.plane.settings.max_stream_rows):
            raise TooManyRows(self._work, limit)

    async def _wait_for_room(self, rows: int, deadline: float) -> None:
        counters, limit = self.served.counters, self.plane.settings.queue_rows
        while counters.queue_rows and counters.queue_rows + rows > limit and time.monotonic() < deadline:
            await asyncio.sleep(QUEUE_POLL_S)


class JsonBlock:
    """A JSON body, which is never streamed."""

    def __init__(self, body: bytes, plane: DataPlane) -> None:
        self._body = body
        self._max_rows = plane.settings.max_rows
        self.count = len(body) // MIN_ROW_BYTES  # an estimate, to decide whether a thread validates the rows

    def validate(self, schema: FeatureSchema, *, first_row: int = 0, max_errors: int = 0) -> ValidatedRows:
        return native.validate_body(schema, self._body, "skip", self._max_rows)


async def rechunk(content: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `content` in chunks, then `chunks`."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]
    async for chunk in chunks:
        yield chunk
