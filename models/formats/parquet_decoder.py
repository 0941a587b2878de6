"""Parquet files to blocks of rows."""

import tempfile
from collections.abc import Iterator
from typing import Any

from models.formats.arrow_columns import BlockBuilder, check_names, failures, pandas_metadata, unreadable
from models.formats.blocks import Block
from models.formats.errors import TooLarge
from models.formats.index_columns import ignored_index, index_names
from models.schema import FeatureSchema

ROW_BYTES = 8  # minimum that a row counts toward the limit, however well it is compressed
SPOOLED_BYTES = 1024**2  # a larger file is written to disk


class ParquetDecoder:
    """A file has its metadata at its end, so all of it is received first: in memory while small, then on disk."""

    def __init__(self, schema: FeatureSchema, block_rows: int, max_bytes: int) -> None:
        self._schema = schema
        self._block_rows = block_rows
        self._max_bytes = max_bytes
        self._file = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 - closed by `close`

    def feed(self, chunk: bytes) -> Iterator[Block]:
        self._file.write(chunk)
        return iter(())

    def rest(self) -> Iterator[Block]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._file.seek(0)
        try:
            # without pre_buffer and with a small buffer, or whole row groups would be held in memory
            file = pq.ParquetFile(pa.PythonFile(self._file, "r"), pre_buffer=False, buffer_size=1 << 16)
            names = file.schema_arrow.names
            check_names(names)
            index = ignored_index(self._schema, index_names(names, pandas_metadata(file.schema_arrow)))
            names = [name for name in names if name not in index] or names
            self._check_size(file.metadata)
            blocks = BlockBuilder(self._schema, self._block_rows)
            for batch in self._read(file, names):
                yield from blocks.add(batch)
            yield from blocks.rest()
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
            for batch in file.iter_batches(self._block_rows, columns=known, use_threads=False):
                batch.validate(full=True)
                empty = [pa.nulls(batch.num_rows)] * len(others)
                yield pa.RecordBatch.from_arrays([*batch.columns, *empty], [*batch.schema.names, *others])
        elif others:  # no column to read, and errors in every row
            for start in range(0, file.metadata.num_rows, self._block_rows):
                count = min(self._block_rows, file.metadata.num_rows - start)
                yield pa.RecordBatch.from_arrays([pa.nulls(count)] * len(others), others)

    def _check_size(self, metadata: Any) -> None:
        rows = metadata.num_rows
        unpacked = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
        if max(rows * ROW_BYTES, unpacked) > self._max_bytes:
            raise TooLarge(self._max_bytes, expanded=True)
