"""The columns of a table in a temporary file: written in batches, read one column at a time."""

from typing import Any

import pyarrow as pa
import pyarrow.ipc as arrow_ipc

from training.streaming.part_columns import PartColumns
from training.streaming.unnamed_file import UnnamedFile, disk_error


class ColumnFile(PartColumns):
    """Receives the batches of a table, and afterwards provides its columns as a sequence."""

    def __init__(self) -> None:
        self._file = UnnamedFile()
        self._writer: Any = None
        self._schema: Any = None
        self._rows: list[int] = []

    @property
    def part_rows(self) -> list[int]:
        return self._rows

    def add(self, batch: Any) -> None:
        """Write a batch. Raises OSError if the disk is full."""
        if self._writer is None:
            self._schema = batch.schema
            self._writer = arrow_ipc.new_file(pa.PythonFile(self._file.file, mode="w"), batch.schema)
        try:
            self._writer.write_batch(batch)
        except OSError as error:
            raise disk_error(error) from None
        self._rows.append(batch.num_rows)

    def columns(self) -> "ColumnFile":
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        return self

    def __len__(self) -> int:
        return 0 if self._schema is None else len(self._schema)

    def type_of(self, index: int) -> Any:
        return self._schema.field(index).type

    def read_part(self, index: int, part: int) -> Any:
        self._file.file.seek(0)
        options = arrow_ipc.IpcReadOptions(included_fields=[index])
        reader = arrow_ipc.open_file(pa.PythonFile(self._file.file, mode="r"), options=options)
        return pa.chunked_array([reader.get_batch(part).column(0)])
