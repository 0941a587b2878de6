"""Reads a large table, or a table in several files, in batches into temporary files."""

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet

from training import arrow_tables, csv_table
from training.column_names import check_same_names
from training.config import DataOptions
from training.csv_rows import BLOCK_BYTES
from training.encodings import HEAD_BYTES as TEXT_HEAD_BYTES
from training.encodings import detect_encoding
from training.errors import UsageError
from training.file_content import BLANK, DAMAGED, WORKBOOK_PART
from training.raw_table import BatchSink, RawTable, check_names
from training.streaming.byte_source import ByteSource
from training.streaming.column_file import ColumnFile
from training.streaming.local_copy import local_copy
from training.streaming.ndjson_stream import is_ndjson, read_ndjson
from training.streaming.parquet_columns import read_parquet
from training.table_inputs import TableFile

ARROW_FILE = b"ARROW1"
BATCH_ROWS = 50_000
ReadWhole = Callable[[bytes], RawTable]
"""Reads formats that cannot be read in batches."""


class FileSink:
    """Receives the batches of several files with the same columns, possibly in different orders."""

    def __init__(self, sink: ColumnFile) -> None:
        self._sink = sink
        self.names: list[str] = []
        self.first = ""

    def sink_for(self, where: str) -> "OneFileSink":
        return OneFileSink(self, where)

    def add(self, batch: Any, where: str) -> None:
        names = batch.schema.names
        if not self.names:
            self.names, self.first = list(names), where
        if names != self.names:
            check_same_names(self.names, names, self.first, where)
            batch = batch.select(self.names)
        self._sink.add(batch)


class OneFileSink:
    """Receives the batches of one of several files."""

    def __init__(self, files: FileSink, where: str) -> None:
        self._files, self._where = files, where

    def add(self, batch: Any) -> None:
        self._files.add(batch, self._where)

    def columns(self) -> Sequence[Any]:
        return ()


def read_large(
    files: list[TableFile], options: DataOptions, encoding: str | None, read_whole: ReadWhole, on_read: "OnRead"
) -> RawTable:
    """Read files as one table. encoding: the encoding in `--schema`. on_read: receives the bytes read. Raises
    UsageError."""
    copies = [local_copy(file, on_read(file)) for file in files]
    sources = [
        ByteSource(copy.name, copy.size, copy.open, on_read(file)) for copy, file in zip(copies, files, strict=True)
    ]
    formats = [_head_format(source) for source in sources]
    if all(name == "Parquet" for name in formats) and all(file.local for file in files):
        table = read_parquet([file.name for file in files])
        return replace(table, fingerprint=_fingerprint(sources), origin=table.origin | _file_count(files))
    sink = ColumnFile()
    shared = FileSink(sink)
    tables = [_read_file(source, options, encoding, read_whole, shared.sink_for(source.where)) for source in sources]
    first = tables[0]
    if len({table.typed for table in tables}) > 1:
        raise UsageError(f"{files[0].name} and other files have different formats: use files of one format")
    compression = sources[0].compression
    return replace(
        first,
        columns=sink.columns(),
        rows=sum(table.rows for table in tables),
        notices=list(dict.fromkeys(notice for table in tables for notice in table.notices)),
        origin=first.origin | ({"compression": compression.name} if compression else {}) | _file_count(files),
        fingerprint=_fingerprint(sources),
        categorical=frozenset().union(*(table.categorical for table in tables)),
        spilled=True,
    )


OnRead = Callable[[TableFile], Callable[[int], None]]


def _file_count(files: list[TableFile]) -> dict[str, Any]:
    return {"files": len(files)} if len(files) > 1 else {}


def _fingerprint(sources: list[ByteSource]) -> str:
    """Return the SHA-256 of a single file, or a SHA-256 over the hashes of several files."""
    for source in sources:
        if not source.fingerprint:
            for _ in source.blocks():
                pass
    if len(sources) == 1:
        return sources[0].fingerprint
    return hashlib.sha256("\n".join(source.fingerprint for source in sources).encode()).hexdigest()


def _head_format(source: ByteSource) -> str | None:
    with closing(source.open_raw()) as file:
        return arrow_tables.format_of(file.read(8))


def _read_file(
    source: ByteSource, options: DataOptions, encoding: str | None, read_whole: ReadWhole, sink: BatchSink
) -> RawTable:
    where = source.where
    head = next(iter(source.chunks()), b"")
    if not head.strip(BLANK):
        raise UsageError(f"{where} is empty")
    name = arrow_tables.format_of(head)
    if name in ("Arrow", "Parquet") and source.compression is None:
        return _read_typed(source, name, sink)
    if name is not None or (source.is_zip and _is_workbook(source)):
        return _spill(read_whole(_content(source)), sink)
    detected = detect_encoding(head[:TEXT_HEAD_BYTES], source.chunks, where, options.encoding, encoding)

    def text() -> Iterable[bytes]:
        return detected.to_utf8(source.chunks())

    start = next(iter(text()), b"").lstrip()
    if start[:1] in (b"{", b"["):
        if is_ndjson(start):
            return read_ndjson(text, detected, where, sink)
        return _spill(read_whole(_content(source)), sink)
    return csv_table.read_csv(text(), detected, where, options, sink, BLOCK_BYTES)


def _content(source: ByteSource) -> bytes:
    return b"".join(source.blocks())


def _is_workbook(source: ByteSource) -> bool:
    try:
        with closing(source.open_raw()) as file:
            return WORKBOOK_PART in zipfile.ZipFile(file).namelist()
    except DAMAGED:
        return False


def _spill(table: RawTable, sink: BatchSink) -> RawTable:
    """Write the rows of a table in memory to the sink. Returns the table."""
    for batch in pa.table(list(table.columns), names=table.names).to_batches(100_000):
        sink.add(batch)
    return table


def _read_typed(source: ByteSource, name: str, sink: BatchSink) -> RawTable:
    """Read an Arrow or Parquet file batch by batch."""
    where = source.where
    try:
        with closing(source.open_raw()) as file:
            schema, batches = _open_typed(name, file)
            names = list(schema.names)
            check_names(names, where)
            rows = 0
            for batch in batches:
                batch.validate(full=True)
                rows += batch.num_rows
                sink.add(_without_dictionaries(batch))
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise arrow_tables.read_failure(where, name, error) from None
    if not rows:
        raise UsageError(f"{where} has no rows")
    dictionaries = {field.name for field in schema if pa.types.is_dictionary(field.type)}
    categorical = frozenset(arrow_tables.categorical_columns(schema) | dictionaries)
    return RawTable(names, (), True, rows, [], {"format": name}, categorical=categorical)


def _open_typed(name: str, file: Any) -> tuple[Any, Iterable[Any]]:
    """The schema and the batches of an Arrow or Parquet file."""
    if name == "Parquet":
        opened = arrow_parquet.ParquetFile(pa.PythonFile(file, mode="r"))
        return opened.schema_arrow, opened.iter_batches(BATCH_ROWS)
    if file.read(len(ARROW_FILE)) != ARROW_FILE:
        file.seek(0)
        stream = arrow_ipc.open_stream(pa.PythonFile(file, mode="r"))
        return stream.schema, stream
    reader = arrow_ipc.open_file(pa.PythonFile(file, mode="r"))
    return reader.schema, (reader.get_batch(number) for number in range(reader.num_record_batches))


def _without_dictionaries(batch: Any) -> Any:
    """The batch with decoded dictionaries, because their levels may differ from batch to batch."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns
    ]
    return pa.record_batch(columns, names=batch.schema.names)
