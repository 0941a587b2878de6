"""Looks at each input before the job starts: can it be read, and does the model know its columns?"""

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

THREADS = 16  # the files of an object store take long to open
MAX_NAMED = 5  # columns in a message
ARROW_FILE_START = b"ARROW1"


class RowGroup(NamedTuple):
    rows: int
    bytes: int


@dataclass(frozen=True)
class ProbedInput:
    """An input with what was found at its beginning or end: row groups of Parquet, the header of a CSV."""

    input: InputFile
    groups: tuple[RowGroup, ...] = ()
    head: CsvHead | None = None

    @property
    def rows(self) -> int | None:
        """The number of rows, if it is known before they are read."""
        return sum(group.rows for group in self.groups) if self.input.format == "parquet" else None

    @property
    def weight(self) -> int:
        """Bytes that are read, for the progress."""
        return sum(group.bytes for group in self.groups) or self.input.size


def probe_all(inputs: Sequence[InputFile], scorer: BatchScorer) -> list[ProbedInput]:
    """Probe all inputs. Raises UnusableRequest with the first one that cannot be scored."""
    with ThreadPoolExecutor(min(THREADS, len(inputs))) as threads:
        try:
            return list(threads.map(lambda found: probe(found, scorer), inputs))
        except ScoringError as error:
            threads.shutdown(cancel_futures=True)
            raise UnusableRequest(str(error)) from None


def probe(found: InputFile, scorer: BatchScorer) -> ProbedInput:
    """Raises UnreadableInput."""
    try:
        if found.format == "ndjson":
            with found.decompressed() as (content, _):
                content.read(1)
            return ProbedInput(found)
        if found.format == "csv":
            with found.decompressed() as (content, _):
                head = csv_head(content, scorer.schema)
            if head is not None:
                first = int(is_unnamed_index(scorer.schema, head.names))
                needed = [name for name in head.names[first:] if not scorer.is_left_out(name)]
                check_columns(head.names, needed, scorer)
            return ProbedInput(found, head=head)
        with found.open() as file:
            if found.format == "parquet":
                table = pq.ParquetFile(file)
                check_table(table.schema_arrow, scorer)
                groups = [table.metadata.row_group(place) for place in range(table.num_row_groups)]
                return ProbedInput(found, tuple(RowGroup(group.num_rows, compressed_bytes(group)) for group in groups))
            check_table(open_arrow(file).schema, scorer)
            return ProbedInput(found)
    except UnreadableInput as error:
        raise UnreadableInput(f"{found.url}: {error}") from None
    except UNREADABLE as error:
        raise UnreadableInput(f"{found.url} is not a readable {found.format} file: {reason_of(error)}") from None


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
        problems.append(f"the column {listed(absent)}, which is to be kept, is missing")
    missing = [feature.name for feature in scorer.schema.features if not feature.nullable and feature.name not in names]
    if missing:
        problems.append(f"the column {listed(missing)} is missing")
    unknown = [name for name in needed if is_unknown(scorer.schema, name)]
    if unknown:
        hint = did_you_mean(unknown[0], scorer.schema.by_name)
        problems.append(f"the model has no column {listed(unknown)}{hint}; accept it with --keep or --ignore-unknown")
    if problems:
        raise UnreadableInput("; ".join(problems))


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(repr(truncate(name)) for name in names[:MAX_NAMED]) + more
