"""Arrow arrays as columns, and record batches as blocks of rows."""

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from models.columns import UNREAD, Column
from models.formats.blocks import Block, ColumnBlock, InputsBlock, first_repeated
from models.formats.errors import FormatError, TooLarge, UnsupportedType
from models.formats.index_columns import ignored_index, index_names
from models.schema import FeatureSchema
from models.text import truncate

BLOCK_BYTES = 16 * 1024**2  # a block of long rows ends at this size
MAX_ROWS_PER_BYTE = 8  # a row takes at least one bit
CELL_BYTES = 8  # minimum size of a written cell: a null takes no byte of an array, but memory and time as a cell


def is_pyarrow_installed() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


def arrow_errors() -> tuple[type[BaseException], ...]:
    """The exceptions that pyarrow raises for unreadable bytes. Some are not pyarrow's own, for example those for names
    in invalid UTF-8."""
    import pyarrow as pa

    return pa.ArrowException, ValueError, TypeError, OSError, OverflowError, MemoryError, StopIteration


def check_type(kind: Any, name: str) -> None:
    """Raises UnsupportedType for a type that no feature has. It is called before decoding, because nested values, and
    values that are written once for many rows, can take an unlimited amount of memory."""
    import pyarrow as pa

    value, is_a = kind.value_type if pa.types.is_dictionary(kind) else kind, pa.types
    text = is_a.is_string(value) or is_a.is_large_string(value) or is_a.is_string_view(value)
    number = is_a.is_integer(value) or is_a.is_floating(value) or is_a.is_decimal(value) or is_a.is_boolean(value)
    moment = is_a.is_date(value) or is_a.is_timestamp(value)
    if not (text or number or moment or is_a.is_null(value)):
        message = f"column {truncate(name)!r}: its type {truncate(str(kind))} cannot be the values of a feature"
        raise UnsupportedType(message, name)


def to_column(array: Any, name: str, *, distinct: bool = False) -> Column:
    """An Arrow array or chunked array as a column. distinct: whether its values are known to be distinct. Raises
    UnsupportedType for types that no feature has."""
    import pyarrow as pa

    kind, is_a = array.type, pa.types
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    missing = np.asarray(array.is_null()) if array.null_count else None
    if missing is None and is_a.is_primitive(kind) and not is_a.is_temporal(kind):  # the common case
        return Column(array.to_numpy(zero_copy_only=False))
    text = is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind)
    if text and distinct:
        return Column(object_array(array), missing)
    if text or is_a.is_dictionary(kind):
        array = array.dictionary_encode() if text else array
        codes = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        levels = array.dictionary
        if len(levels) > len(codes):  # a dictionary that many batches share
            used, codes = np.unique(codes, return_inverse=True)
            levels = levels.take(pa.array(used))
        known = to_column(levels, name, distinct=True)
        if known.missing is not None and len(codes):  # one of the levels is null
            null_levels = known.missing[codes]
            missing = null_levels if missing is None else missing | null_levels
        return Column(known.values, missing, codes)
    if is_a.is_null(kind):
        return Column(np.zeros(len(array)), np.ones(len(array), dtype=bool))
    if is_a.is_decimal(kind):
        array = _decimals(array)
    elif is_a.is_date(kind):
        array = array.cast(pa.timestamp("s" if is_a.is_date32(kind) else "ms"))
    elif is_a.is_timestamp(kind):
        array = array.cast(pa.timestamp(kind.unit))  # the values are UTC; the zone is only for display
    elif is_a.is_boolean(kind) or is_a.is_integer(kind) or is_a.is_floating(kind):
        pass
    else:
        message = f"column {truncate(name)!r}: its type {truncate(str(kind))} cannot be the values of a feature"
        raise UnsupportedType(message, name)
    if missing is not None:
        array = array.fill_null(False if is_a.is_boolean(kind) else pa.scalar(0, pa.int64()).cast(array.type))
    return Column(array.to_numpy(zero_copy_only=False), missing)


def pandas_metadata(schema: Any) -> bytes | None:
    """The metadata that pandas stored in an Arrow schema; None if there is none."""
    metadata: dict[bytes, bytes] = schema.metadata or {}
    return metadata.get(b"pandas")


def _decimals(array: Any) -> Any:
    """Decimals as integers if they are whole and 64 bits are enough, because an identifier may have more digits than a
    float."""
    import pyarrow as pa

    if array.type.scale <= 0:
        try:
            return array.cast(pa.int64())
        except pa.ArrowInvalid:  # too large
            pass
    return array.cast(pa.float64())


def object_array(array: Any) -> Any:
    values = np.empty(len(array), dtype=object)
    values[:] = array.to_pylist()
    return values


def check_names(names: list[str]) -> None:
    if (name := first_repeated(names)) is not None:
        raise FormatError(f"two of its columns have the name {name[:60]!r}")


class BlockBuilder:
    """Concatenates or splits record batches of any size into blocks of `block_rows` rows."""

    def __init__(
        self,
        schema: FeatureSchema,
        block_rows: int,
        max_bytes: int | None = None,
        *,
        inputs: Sequence[str] | None = None,
    ) -> None:
        """max_bytes: the limit for the decoded size of all rows; None if decoding cannot enlarge the data.

        inputs: the columns of `InputsBlock`s; None to make other blocks.
        """
        self._inputs = inputs
        self._schema = schema
        self._block_rows = block_rows
        self._max_bytes = max_bytes
        self._bytes = 0
        self._waiting: list[Any] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._index: frozenset[str] | None = None  # known after the first block

    def add(self, batch: Any) -> Iterator[Block]:
        if self._inputs is None:
            yield from self._add(batch, decoded_bytes(batch))
            return
        for part, size in split_batch(batch):
            yield from self._add(part, size)

    def _add(self, batch: Any, size: int) -> Iterator[Block]:
        self._bytes += size
        if self._max_bytes is not None and self._bytes > self._max_bytes:
            raise TooLarge(self._max_bytes, expanded=True)
        if self._waiting and self._waiting_bytes + size > BLOCK_BYTES:
            yield self._block()
        self._waiting_bytes += size
        while batch.num_rows + self._waiting_rows > self._block_rows:
            first = self._block_rows - self._waiting_rows
            self._waiting.append(batch.slice(0, first))
            batch = batch.slice(first)
            yield self._block()
        if batch.num_rows:
            self._waiting.append(batch)
            self._waiting_rows += batch.num_rows

    def rest(self) -> Iterator[Block]:
        if self._waiting:
            yield self._block()

    def _block(self) -> Block:
        import pyarrow as pa

        batches, self._waiting, self._waiting_rows, self._waiting_bytes = self._waiting, [], 0, 0
        whole = batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).unify_dictionaries()
        names = whole.schema.names
        if self._index is None:
            marked = index_names(names, pandas_metadata(whole.schema))
            self._index = ignored_index(self._schema, marked)
        columns = {
            name: to_column(whole.column(position), name) if name in self._schema.by_name else UNREAD
            for position, name in enumerate(names)
            if name not in self._index
        }
        block = ColumnBlock(columns, whole.num_rows)
        if self._inputs is None:
            return block
        others = {
            name: to_column(whole.column(name), name) for name in self._inputs if name not in self._schema.by_name
        }
        return InputsBlock(block, {name: others.get(name) or columns[name] for name in self._inputs})


def view_bytes(array: Any) -> int:
    """The size in bytes of an array's string views if every text is written out, because many views may refer to one
    text. Raises the exceptions of pyarrow."""
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        array = array.dictionary
    if not pa.types.is_string_view(array.type):
        return 0
    views = np.frombuffer(array.buffers()[1], dtype="<i4")[4 * array.offset : 4 * (array.offset + len(array)) : 4]
    return int(views.astype(np.int64).sum()) if len(views) else 0


def decoded_bytes(batch: Any) -> int:
    """The size of a batch's rows in bytes. For a dictionary only the indices count, because many batches may share
    it."""
    import pyarrow as pa

    return sum(
        column.indices.nbytes if pa.types.is_dictionary(column.type) else column.nbytes for column in batch.columns
    )


def split_batch(batch: Any) -> Iterator[tuple[Any, int]]:
    """Split a record batch into parts of at most BLOCK_BYTES or one row. Also yields the size of each part in bytes if
    every row contains its full text."""
    size = sum(map(written_bytes, batch.columns))
    if size <= BLOCK_BYTES or batch.num_rows == 1:
        yield batch, size
        return
    half = batch.num_rows // 2
    yield from split_batch(batch.slice(0, half))
    yield from split_batch(batch.slice(half))


def written_bytes(array: Any) -> int:
    """The size of an array's values in bytes if every row contains its full text; at least CELL_BYTES per value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    least = CELL_BYTES * len(array)
    if pa.types.is_string_view(array.type):  # a slice of such an array refers to all texts
        array = array.cast(pa.large_string())
    if not pa.types.is_dictionary(array.type):
        return max(int(array.nbytes), least)
    lengths = pc.binary_length(array.dictionary.cast(pa.large_string()))
    return max(int(pc.sum(lengths.take(array.indices)).as_py() or 0), least)


def buffer_offset(array: Any, content: Any) -> int | None:
    """The offset of an array's numbers in the buffer from which it was read; None if it contains other values or may
    contain nulls, or is outside the buffer."""
    import pyarrow as pa

    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)) or array.offset:
        return None
    nulls, numbers = array.buffers()
    if nulls is not None or numbers is None:
        return None
    start = int(numbers.address - content.address)
    return start if start >= 0 and start + numbers.size <= content.size else None


def unreadable_error(error: BaseException) -> FormatError:
    lines = str(error).splitlines()
    return FormatError(lines[0][:200] if lines else "it is not an Arrow stream")
