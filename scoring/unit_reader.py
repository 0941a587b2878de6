"""Reads the rows of a unit and scores them block by block."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from models import json_text
from models.formats.blocks import CHUNK_BYTES, Block, RowBlock, TableDecoder
from models.formats.csv_decoder import CsvDecoder, KeptBlock
from models.formats.ndjson_decoder import LineBlock, NdjsonDecoder, parse_line
from models.formats.record_batches import encodable
from scoring.batch_scorer import BLOCK_ROWS, BatchScorer, ScoredBlock
from scoring.errors import UnreadableInput
from scoring.input_file import UNREADABLE, InputFile, reason_of
from scoring.input_probe import open_arrow
from scoring.scoring_unit import ScoringUnit

BLOCK_BYTES = 16 * 1024**2  # limit for the text of a block; long rows make smaller blocks
COLUMN_BUFFER_BYTES = 256 * 1024


class UnitStep(NamedTuple):
    """A scored block, and the fraction of the unit that has been read."""

    scored: ScoredBlock
    share: float


def score_unit(unit: ScoringUnit, input_file: InputFile, scorer: BatchScorer) -> Iterator[UnitStep]:
    """Score the rows of a unit. Raises ScoringError."""
    steps = _score_tables if input_file.format in ("parquet", "arrow") else _score_text
    return steps(unit, input_file, scorer)


def kept_schema(input_file: InputFile, scorer: BatchScorer) -> pa.Schema:
    """The fields of the kept columns; all are text in CSV and NDJSON. Raises UnreadableInput."""
    if input_file.format not in ("parquet", "arrow"):
        return pa.schema([pa.field(name, pa.string()) for name in scorer.options.keep])
    with reading_errors(input_file), input_file.open() as file:
        return scorer.kept_fields(
            pq.ParquetFile(file).schema_arrow if input_file.format == "parquet" else open_arrow(file).schema
        )


@contextlib.contextmanager
def reading_errors(input_file: InputFile) -> Iterator[None]:
    """Convert errors of reading to UnreadableInput with the name of the input."""
    try:
        yield
    except UnreadableInput:
        raise
    except UNREADABLE as error:
        raise UnreadableInput(f"{input_file.url} cannot be read: {reason_of(error)}") from None


# Parquet and Arrow


def _score_tables(unit: ScoringUnit, input_file: InputFile, scorer: BatchScorer) -> Iterator[UnitStep]:
    batches = _parquet_batches if input_file.format == "parquet" else _arrow_batches
    row = unit.first_row
    for batch, share in batches(unit, input_file, scorer):
        for scored in scorer.score_batch(batch, row):
            yield UnitStep(scored, share)
        row += batch.num_rows


def _parquet_batches(
    unit: ScoringUnit, input_file: InputFile, scorer: BatchScorer
) -> Iterator[tuple[pa.RecordBatch, float]]:
    """The rows of the unit's row groups, with the columns that are needed."""
    with reading_errors(input_file), input_file.open() as source:
        file = pq.ParquetFile(source)
        groups = [*range(unit.start, unit.stop)]
        known = [name for name in file.schema_arrow.names if name in scorer.schema.by_name]
        texts = [name for name in known if name not in scorer.options.keep]
        file = pq.ParquetFile(
            source,
            metadata=file.metadata,
            read_dictionary=dictionary_columns(file.metadata, groups, texts),
            pre_buffer=False,  # otherwise whole row groups would be stored in memory
            buffer_size=COLUMN_BUFFER_BYTES,
        )
        total, rows = sum(file.metadata.row_group(group).num_rows for group in groups), 0
        columns = list(dict.fromkeys([*known, *scorer.options.keep]))
        for batch in file.iter_batches(BLOCK_ROWS, row_groups=groups, columns=columns, use_threads=False):
            batch.validate(full=True)
            rows += batch.num_rows
            yield batch, rows / max(total, 1)


def dictionary_columns(metadata: pq.FileMetaData, groups: list[int], names: list[str]) -> list[str]:
    """The columns that have dictionaries in all groups. They are read as dictionaries, without repeating their
    values."""
    found = set(names)
    for group in groups:
        columns = [metadata.row_group(group).column(place) for place in range(metadata.num_columns)]
        for column in columns:
            encodings = column.encodings
            repeated = any("DICTIONARY" in encoding for encoding in encodings)
            if not repeated or any("DELTA" in encoding for encoding in encodings):
                found.discard(column.path_in_schema)
    return [name for name in names if name in found]


def _arrow_batches(
    unit: ScoringUnit, input_file: InputFile, scorer: BatchScorer
) -> Iterator[tuple[pa.RecordBatch, float]]:
    with reading_errors(input_file), input_file.open() as source:
        reader = open_arrow(source)
        if isinstance(reader, pa.RecordBatchStreamReader):
            batches: Iterator[pa.RecordBatch] = iter(reader)
        else:
            batches = (reader.get_batch(place) for place in range(reader.num_record_batches))
        for batch in batches:
            batch.validate(full=True)
            yield batch, min(source.tell() / max(input_file.size, 1), 1.0)


# CSV and NDJSON


def _score_text(unit: ScoringUnit, input_file: InputFile, scorer: BatchScorer) -> Iterator[UnitStep]:
    row = unit.first_row
    for block, share in _text_blocks(unit, input_file, scorer):
        block, kept = _with_kept(block, scorer)
        yield UnitStep(scorer.score_block(block, row, kept), share)
        row += block.count


def _text_blocks(unit: ScoringUnit, input_file: InputFile, scorer: BatchScorer) -> Iterator[tuple[Block, float]]:
    with (
        reading_errors(input_file),
        input_file.decompressed() as (content, stored),
        contextlib.closing(_decoder(input_file, scorer)) as rows,
    ):
        size = unit.stop - unit.start if unit.stop else input_file.size
        for chunk in _chunks(unit, content):
            share = min((stored.tell() - unit.start) / max(size, 1), 1.0)
            for block in rows.feed(chunk):
                yield block, share
        for block in rows.rest():
            yield block, 1.0


def _decoder(input_file: InputFile, scorer: BatchScorer) -> TableDecoder:
    if input_file.format == "ndjson":
        return NdjsonDecoder(scorer.schema, BLOCK_ROWS, BLOCK_BYTES)
    options = scorer.options
    schema = scorer.schema.model_copy(update={"footer_lines": None})  # a row at the end of a range has all cells
    return CsvDecoder(schema, BLOCK_ROWS, BLOCK_BYTES, keep=options.keep, ignore_unknown=options.ignore_unknown)


def _chunks(unit: ScoringUnit, content: IO[bytes]) -> Iterator[bytes]:
    """The bytes of the header and of the unit's range, or of the whole file."""
    if not unit.stop:
        while chunk := content.read(CHUNK_BYTES):
            yield chunk
        return
    if unit.start:
        yield content.read(unit.header_bytes) or b"\n"  # so that it is not read as the start of a file
    content.seek(unit.start)
    left = unit.stop - unit.start
    while left and (chunk := content.read(min(CHUNK_BYTES, left))):
        left -= len(chunk)
        yield chunk


def _with_kept(block: Block, scorer: BatchScorer) -> tuple[Block, pa.RecordBatch | None]:
    """The block with the columns to validate, and the kept columns of its rows."""
    options = scorer.options
    if isinstance(block, KeptBlock):
        return block.block, _text_batch(scorer, [block.kept[name] for name in options.keep])
    if not isinstance(block, LineBlock) or not (options.keep or options.ignore_unknown):
        return block, None
    rows = [parse_line(line) for line in block.lines]
    known = [_known_values(row, scorer) if isinstance(row, dict) else row for row in rows]
    if not options.keep:
        return RowBlock(known), None
    kept = [[kept_text(row.get(name)) if isinstance(row, dict) else None for row in rows] for name in options.keep]
    return RowBlock(known), _text_batch(scorer, kept)


def _known_values(row: dict[str, object], scorer: BatchScorer) -> dict[str, object]:
    return {name: value for name, value in row.items() if not scorer.is_skipped(name)}


def _text_batch(scorer: BatchScorer, columns: Sequence[Sequence[str | None]]) -> pa.RecordBatch:
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, list(scorer.options.keep))


def kept_text(value: object) -> str | None:
    """A JSON value as the text of a kept column."""
    return encodable(value) if isinstance(value, str | None) else json_text.dumps(value).decode()
