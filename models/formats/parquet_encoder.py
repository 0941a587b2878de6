"""Predictions as a Parquet file."""

from typing import Any, ClassVar

from models.formats.encoders import ALL
from models.formats.record_batches import RecordBatchWriter
from models.outputs import Answers
from models.rows import ValidatedRows
from service.errors import RequestError

ROW_GROUP = 65_536


class WriteBuffer:
    """A file that is only written, and gives away what was written."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._place = 0

    def write(self, part: Any) -> int:
        content = bytes(part)
        self._parts.append(content)
        self._place += len(content)
        return len(content)

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def flush(self) -> None: ...
    def close(self) -> None: ...


class ParquetEncoder:
    """Row groups of some size: each block would be too small a one."""

    kind: ClassVar[bytes] = b"application/vnd.apache.parquet"
    told: ClassVar[int] = ALL

    def __init__(self, table: RecordBatchWriter) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._table = table
        self._sink = WriteBuffer()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, "w"), table.schema)
        self._batches: list[Any] = []
        self._rows = 0

    def head(self) -> bytes:
        return self._sink.take()

    def block(self, accepted: ValidatedRows, answers: Answers, first_row: int) -> bytes:
        self._add(self._table.batch(accepted, answers, first_row))
        return self._sink.take()

    def _add(self, batch: Any) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches), row_group_size=2 * ROW_GROUP)
        self._batches, self._rows = [], 0

    def stop(self, error: RequestError) -> bytes:
        self._add(self._table.stopped(error))
        return self.end()

    def end(self) -> bytes:
        self._write()
        self._writer.close()
        return self._sink.take()
