"""Parquet files to blocks of rows."""

import tempfile
from collections.abc import Iterator
from typing import Any

from models.formats.arrow_columns import Batches, check_names, failures, unreadable
from models.formats.blocks import Block
from models.schema import FeatureSchema
from service.errors import BodyTooLarge

ROW_BYTES = 8  # a row of a Parquet file counts as so many against the limit, however well it is packed
SPOOL = 1024**2  # of a Parquet file, above that it goes to a temporary file


class ParquetDecoder:
    """A file tells at its end what is in it, so all of it must be there: in memory while it is small, then on disk."""

    def __init__(self, schema: FeatureSchema, rows: int, most_bytes: int) -> None:
        self._schema = schema
        self._rows = rows
        self._most_bytes = most_bytes
        self._file = tempfile.SpooledTemporaryFile(SPOOL)  # noqa: SIM115 - closed by `close`

    def feed(self, piece: bytes) -> Iterator[Block]:
        self._file.write(piece)
        return iter(())

    def rest(self) -> Iterator[Block]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._file.seek(0)
        try:
            # pre_buffer off, and a small buffer: else whole row groups are held
            file = pq.ParquetFile(pa.PythonFile(self._file, "r"), pre_buffer=False, buffer_size=1 << 16)
            names = file.schema_arrow.names
            check_names(names)
            self._check_size(file.metadata)
            batches = Batches(self._schema, self._rows)
            for batch in self._read(file, names):
                yield from batches.add(batch)
            yield from batches.rest()
        except failures() as error:
            raise unreadable(error) from None

    def close(self) -> None:
        self._file.close()

    def _read(self, file: Any, names: list[str]) -> Iterator[Any]:
        """Its rows, with empty columns for those that no feature names."""
        import pyarrow as pa

        known = [name for name in names if name in self._schema.by_name]
        others = [name for name in names if name not in self._schema.by_name]
        if known:
            for part in file.iter_batches(self._rows, columns=known, use_threads=False):
                part.validate(full=True)
                empty = [pa.nulls(part.num_rows)] * len(others)
                yield pa.RecordBatch.from_arrays([*part.columns, *empty], [*part.schema.names, *others])
        elif others:  # nothing to read, but rows to speak of
            for start in range(0, file.metadata.num_rows, self._rows):
                count = min(self._rows, file.metadata.num_rows - start)
                yield pa.RecordBatch.from_arrays([pa.nulls(count)] * len(others), others)

    def _check_size(self, metadata: Any) -> None:
        rows = metadata.num_rows
        unpacked = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
        if max(rows * ROW_BYTES, unpacked) > self._most_bytes:
            raise BodyTooLarge(self._most_bytes, expanded=True)
