"""Checks each input before the job starts: whether it can be read, and whether its columns match the model."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from models.formats.index_columns import is_unnamed_index
from models.rows import is_unknown
from models.text import did_you_mean, truncate
from scoring.batch_scorer import BatchScorer
from scoring.errors import ScoringError, UnreadableInput, UnusableRequest
from scoring.input_file import UNREADABLE, InputFile, reason_of
from scoring.text_ranges import CsvHead, csv_head

THREADS = 16  # because opening files of an object store takes a long time
MAX_NAMED = 5  # maximum number of columns in a message
ARROW_FILE_START = b"ARROW1"


class RowGroup(NamedTuple):
    rows: int
    bytes: int


@dataclass(frozen=True)
class ProbedInput:
    """An input with data from its beginning or end: the row groups of Parquet, or the header of a CSV."""

    input: InputFile
    groups: tuple[RowGroup, ...] = ()
    head: CsvHead | None = None

    @property
    def rows(self) -> int | None:
        """The number of rows if it is known before they are read, else None."""
        return sum(group.rows for group in self.groups) if self.input.format == "parquet" else None

    @property
    def weight(self) -> int:
        """The number of bytes that are read, for the progress."""
        return sum(group.bytes for group in self.groups) or self.input.size


def probe_all(inputs: Sequence[InputFile], scorer: BatchScorer) -> list[ProbedInput]:
    """Probe all inputs. Raises UnusableRequest for the first input that cannot be scored."""
    with ThreadPoolExecutor(min(THREADS, len(inputs))) as threads:
        try:
            return list(threads.map(lambda input_file: probe(input_file, scorer), inputs))
        except ScoringError as error:
            threads.shutdown(cancel_futures=True)
            raise UnusableRequest(str(error)) from None


def probe(input_file: InputFile, scorer: BatchScorer) -> ProbedInput:
    """Probe one input. Raises UnreadableInput."""
    try:
        if input_file.format == "ndjson":
            with input_file.decompressed() as (content, _):
                content.read(1)
            return ProbedInput(input_file)
        if input_file.format == "csv":
            with input_file.decompressed() as (content, _):
                head = csv_head(content, scorer.schema)
            if head is not None:
                first = int(is_unnamed_index(scorer.schema, head.names))
                needed = [name for name in head.names[first:] if not scorer.is_skipped(name)]
                check_columns(head.names, needed, scorer)
            return ProbedInput(input_file, head=head)
        with input_file.open() as file:
            if input_file.format == "parquet":
                table = pq.ParquetFile(file)
                check_table(table.schema_arrow, scorer)
                groups = [table.metadata.row_group(place) for place in range(table.num_row_groups)]
                return ProbedInput(
                    input_file, tuple(RowGroup(group.num_rows, compressed_bytes(group)) for group in groups)
                )
            check_table(open_arrow(file).schema, scorer)
            return ProbedInput(input_file)
    except UnreadableInput as error:
        raise UnreadableInput(f"{input_file.url}: {error}") from None
    except UNREADABLE as error:
        raise UnreadableInput(
            f"{input_file.url} is not a readable {input_file.format} file: {reason_of(error)}"
        ) from None


def compressed_bytes(group: pq.RowGroupMetaData) -> int:
    return sum(group.column(place).total_compressed_size for place in range(group.num_columns))


def open_arrow(file: object) -> "pa.RecordBatchFileReader | pa.RecordBatchStreamReader":
    """A reader of an Arrow file or of an Arrow stream."""
    source = pa.PythonFile(file, "r")
    start = source.read(len(ARROW_FILE_START))
    source.seek(0)
    return pa.ipc.open_file(source) if start == ARROW_FILE_START else pa.ipc.open_stream(source)


def check_table(schema: pa.Schema, scorer: BatchScorer) -> None:
    check_columns(schema.names, scorer.needed_columns(schema), scorer)


def check_columns(names: Sequence[str], needed: Sequence[str], scorer: BatchScorer) -> None:
    """Raises UnreadableInput if every row would be invalid. needed: the columns that are validated."""
    problems = []
    absent = [name for name in scorer.options.keep if name not in names]
    if absent:
        problems.append(f"the column {join_names(absent)}, which is to be kept, is missing")
    missing = [feature.name for feature in scorer.schema.features if not feature.nullable and feature.name not in names]
    if missing:
        problems.append(f"the column {join_names(missing)} is missing")
    unknown = [name for name in needed if is_unknown(scorer.schema, name)]
    if unknown:
        hint = did_you_mean(unknown[0], scorer.schema.by_name)
        problems.append(
            f"the model has no column {join_names(unknown)}{hint}; accept it with --keep or --ignore-unknown"
        )
    if problems:
        raise UnreadableInput("; ".join(problems))


def join_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(repr(truncate(name)) for name in names[:MAX_NAMED]) + more
