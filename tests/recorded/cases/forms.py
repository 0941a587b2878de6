"""Encodes rows as CSV, JSON lines, Arrow and Parquet."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.recorded.cases.samples import Row

CSV, NDJSON = "text/csv", "application/x-ndjson"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


def csv_of(rows: Sequence[Row], delimiter: str = ",", missing: str = "", header: bool = True) -> bytes:
    """The rows as CSV, with `true` and `false` for booleans."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow([csv_cell(value, missing) for value in row.values()])
    return text.getvalue().encode()


def csv_cell(value: Any, missing: str) -> Any:
    return missing if value is None else str(value).lower() if isinstance(value, bool) else value


def ndjson_of(rows: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def table_of(rows: Sequence[Row], **types: Any) -> Any:
    """The rows as an Arrow table. types: types of columns that replace the inferred types."""
    table = pa.Table.from_pylist(list(rows))
    for name, kind in types.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(name).combine_chunks().cast(kind))
    return table


def arrow_of(table: Any, max_chunksize: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=max_chunksize)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def parquet_of(table: Any, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    content: bytes = sink.getvalue().to_pybytes()
    return content
