"""Reads a file of rows in the same way as the body of a request. The content determines its format: CSV, NDJSON, Arrow
or Parquet."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from models.formats import arrow_decoder, csv_decoder, ndjson_decoder, parquet_decoder
from models.formats.blocks import CHUNK_BYTES, TableDecoder
from models.rows import ValidatedRows
from models.schema import FeatureSchema

BLOCK_ROWS = 4096
MAX_BLOCK_BYTES = 64 * 1024**2
PARQUET, ARROW_STREAM = b"PAR1", b"\xff\xff\xff\xff"


def read_file(path: Path, schema: FeatureSchema) -> Iterator[ValidatedRows]:
    """The validated rows of a file, block by block. Raises OSError and FormatError."""
    row = 0
    with path.open("rb") as file:
        start = file.read(CHUNK_BYTES)
        with contextlib.closing(decoder_for(start, schema, path.stat().st_size)) as decoder:
            while start:
                for block in decoder.feed(start):
                    yield block.validate(schema, first_row=row)
                    row += block.count
                start = file.read(CHUNK_BYTES)
            for block in decoder.rest():
                yield block.validate(schema, first_row=row)
                row += block.count


def decoder_for(start: bytes, schema: FeatureSchema, size: int) -> TableDecoder:
    """The decoder for a file. start: its first bytes. size: its total size."""
    if start.startswith(PARQUET):
        return parquet_decoder.ParquetDecoder(schema, BLOCK_ROWS, size)
    if start.startswith(ARROW_STREAM):
        return arrow_decoder.ArrowDecoder(schema, BLOCK_ROWS, MAX_BLOCK_BYTES)
    if start.lstrip()[:1] == b"{":
        return ndjson_decoder.NdjsonDecoder(schema, BLOCK_ROWS, MAX_BLOCK_BYTES)
    return csv_decoder.CsvDecoder(schema, BLOCK_ROWS, MAX_BLOCK_BYTES)
