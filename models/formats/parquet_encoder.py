"""Encodes predictions as a Parquet file."""

from typing import Any, ClassVar

from models.formats.encoders import NO_LIMIT, StopReason
from models.formats.record_batches import RecordBatchWriter
from models.outputs import Outputs
from models.rows import ValidatedRows

ROW_GROUP_ROWS = 65_536


class WriteBuffer:
    """A write-only file object; `take` returns the bytes that were written."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0

    def write(self, part: Any) -> int:
        content = bytes(part)
        self._parts.append(content)
        self._position += len(content)
        return len(content)

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def flush(self) -> None: ...
    def close(self) -> None: ...


class ParquetEncoder:
    """Combines blocks into row groups, because a single block would be too small."""

    content_type: ClassVar[bytes] = b"application/vnd.apache.parquet"
    max_errors: ClassVar[int] = NO_LIMIT

    def __init__(self, batches: RecordBatchWriter) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._batches = batches
        self._sink = WriteBuffer()
        self._file = pq.ParquetWriter(pa.PythonFile(self._sink, "w"), batches.schema)
        self._row_group: list[Any] = []
        self._rows = 0

    def head(self) -> bytes:
        return self._sink.take()

    def block(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        self._add(self._batches.batch(accepted, outputs, first_row))
        return self._sink.take()

    def _add(self, batch: Any) -> None:
        self._row_group.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP_ROWS:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        if self._row_group:
            self._file.write_table(pa.Table.from_batches(self._row_group), row_group_size=2 * ROW_GROUP_ROWS)
        self._row_group, self._rows = [], 0

    def stop(self, reason: StopReason) -> bytes:
        self._add(self._batches.stop_row(reason))
        return self.end()

    def end(self) -> bytes:
        self._write()
        self._file.close()
        return self._sink.take()
