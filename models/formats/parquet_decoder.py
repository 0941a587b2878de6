"""Decodes Parquet files to blocks of rows."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from models.formats.arrow_columns import (
    BLOCK_BYTES,
    BlockBuilder,
    arrow_errors,
    check_names,
    check_type,
    pandas_metadata,
    unreadable_error,
)
from models.formats.blocks import Block
from models.formats.errors import FormatError, SpillFailed, TooLarge, UnsupportedType
from models.formats.index_columns import ignored_index, index_names
from models.formats.parquet_pages import ColumnPages, check_footer, read_column_pages
from models.schema import FeatureSchema

ROW_BYTES = 8  # size that every decoded row is assumed to have at least, however well it is compressed
SPOOLED_BYTES = 1024**2  # a larger file is written to disk
DECODED_BYTES = 8 * 1024**2  # maximum size of the repeated texts that are decoded at a time
TEXT_COPIES = 8  # copies of a page of texts: compressed, decompressed, as Arrow arrays, as Python strings, in errors
NUMBER_COPIES = 3
MAX_INPUTS = 4096  # maximum number of columns of an `InputsBlock`, which may be any columns of the file
INPUT_BYTES = 48 * 1024  # minimum memory for reading each of these columns


class ParquetDecoder:
    """Stores the whole file before decoding, because its metadata is at its end. A large file is stored on disk."""

    def __init__(
        self,
        schema: FeatureSchema,
        block_rows: int,
        max_bytes: int,
        reserve: Callable[[int], None] | None = None,
        *,
        inputs: bool = False,
    ) -> None:
        """reserve: called before decoding with the number of bytes that decoding needs; may raise an error of the
        caller.

        inputs: make `InputsBlock`s, with all columns whose type a feature can have.
        """
        self._inputs = inputs
        self._reserve = reserve
        self._schema = schema
        self._block_rows = block_rows
        self._max_bytes = max_bytes
        self._file = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 - closed by `close`

    def feed(self, chunk: bytes) -> Iterator[Block]:
        with self._storage_errors():
            self._file.write(chunk)
        return iter(())

    def rest(self) -> Iterator[Block]:
        with self._storage_errors():
            self._file.flush()
        try:
            check_footer(self._file)
            file = self._open()
            schema = file.schema_arrow  # each access rebuilds it from all columns
            names = schema.names
            check_names(names)
            index = ignored_index(self._schema, index_names(names, pandas_metadata(schema)))
            names = [name for name in names if name not in index] or names
            known = [name for name in names if name in self._schema.by_name]
            for name in known:
                check_type(schema.field(name).type, name)
            read = columns_of_features(schema) if self._inputs else known
            if self._inputs and len(read) > MAX_INPUTS:
                raise FormatError(f"it has {len(read):,} columns; inputs=true writes at most {MAX_INPUTS:,}")
            columns = read_column_pages(self._file, file.metadata, read)
            self._check_size(file.metadata, columns)
            if self._reserve:
                written = TEXT_COPIES * BLOCK_BYTES + INPUT_BYTES * len(read) if self._inputs else 0
                types = {name: schema.field(name).type for name in read}
                self._reserve(decoding_bytes(columns, types) + written)
            blocks = BlockBuilder(
                self._schema, self._block_rows, self._max_bytes, inputs=read if self._inputs else None
            )
            for batch in self._read(file.metadata, names, read, columns):
                yield from blocks.add(batch)
            yield from blocks.rest()
        except arrow_errors() as error:
            raise unreadable_error(error) from None

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closing repeats the error if content could not be written
            self._file.close()

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpillFailed(error) from None

    def _open(self, **options: Any) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # without pre_buffer and with a small buffer: otherwise whole row groups would be stored in memory
        return pq.ParquetFile(pa.PythonFile(self._file, "r"), pre_buffer=False, buffer_size=1 << 16, **options)

    def _read(
        self, metadata: Any, names: list[str], read: list[str], columns: Mapping[str, ColumnPages]
    ) -> Iterator[Any]:
        """The rows of the file, with null columns in place of columns that are not read."""
        import pyarrow as pa

        found = frozenset(read)
        others = [name for name in names if name not in found]
        if columns:
            in_dictionaries = [name for name in read if columns[name].has_dictionary and not columns[name].has_deltas]
            file = self._open(read_dictionary=in_dictionaries, metadata=metadata)
            rows = self._rows_at_once(columns)
            for batch in file.iter_batches(rows, columns=read, use_threads=False):
                batch.validate(full=True)
                fields = [*batch.schema, *(pa.field(name, pa.null()) for name in others)]
                arrays = [*batch.columns, *([pa.nulls(batch.num_rows)] * len(others))]
                yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, batch.schema.metadata))
        elif others and not read:  # no column to read: every row has errors
            for start in range(0, metadata.num_rows, self._block_rows):
                count = min(self._block_rows, metadata.num_rows - start)
                yield pa.RecordBatch.from_arrays([pa.nulls(count)] * len(others), others)

    def _rows_at_once(self, columns: Mapping[str, ColumnPages]) -> int:
        """The number of rows to decode at once. It is limited because a repeated text can be as long as its whole
        page."""
        longest = sum(
            pages.largest_page
            for pages in columns.values()
            if pages.repeats or (pages.has_dictionary and pages.has_deltas)
        )
        return max(1, min(self._block_rows, DECODED_BYTES // max(longest, 1)))

    def _check_size(self, metadata: Any, columns: Mapping[str, ColumnPages]) -> None:
        rows = metadata.num_rows
        claimed = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
        found = sum(pages.decompressed_bytes for pages in columns.values())
        if max(rows * ROW_BYTES, claimed, found) > self._max_bytes:
            raise TooLarge(self._max_bytes, expanded=True)


def columns_of_features(schema: Any) -> list[str]:
    """The columns of an Arrow schema whose types a feature can have."""
    found = []
    for field in schema:
        with contextlib.suppress(UnsupportedType):
            check_type(field.type, field.name)
            found.append(field.name)
    return found


def decoding_bytes(columns: Mapping[str, ColumnPages], types: Mapping[str, Any]) -> int:
    """An estimate of the maximum memory for decoding: a page of each column and the dictionary to which it refers."""
    import pyarrow as pa

    needed = 0
    for name, pages in columns.items():
        held = min(pages.decompressed_bytes, 2 * pages.largest_page)
        needed += held * (NUMBER_COPIES if pa.types.is_primitive(types[name]) else TEXT_COPIES)
        if pages.repeats or (pages.has_dictionary and pages.has_deltas):
            needed += TEXT_COPIES * DECODED_BYTES
    return needed
