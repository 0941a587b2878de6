"""Arrow IPC streams and Parquet files, by pyarrow, which is imported when the first of them comes."""

import functools
import importlib.util
import struct
import tempfile
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np

from models.columns import Column
from models.frame import Frame
from models.outputs import Answers
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import class_key, short
from service.errors import BadBody, BodyTooLarge, RequestError
from service.protocols import native
from service.protocols.blocks import ALL, Block, ColumnBlock, by_row, place, repeated, sentence, stopped
from service.protocols.native import Accepted

CONTINUES = b"\xff\xff\xff\xff"  # before each message of a stream
END = CONTINUES + bytes(4)
SCHEMA, RECORD_BATCH = 1, 3  # kinds of messages
MOST_METADATA = 16 * 1024**2
KNOWN_BYTES = 16 * 1024  # of metadata that are kept
BITS = 8  # a row takes no less than one
ROW_BYTES = 8  # a row of a Parquet file counts as so many against the limit, however well it is packed
ROW_GROUP = 65_536
KNOWN_ROWS = 4096  # of an answer whose form is kept
SPOOL = 1024**2  # of a Parquet file, above that it goes to a temporary file
UNUSED = Column(np.empty(0))  # of a column that is not read


def installed() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


def failures() -> tuple[type[BaseException], ...]:
    """What pyarrow raises of bytes that it cannot read: besides its own exceptions, for names that are no UTF-8 say."""
    import pyarrow as pa

    return pa.ArrowException, ValueError, TypeError, OSError, OverflowError, MemoryError, StopIteration


# Columns


def column_of(array: Any, name: str, *, distinct: bool = False) -> Column:
    """An Arrow array or chunked array as a column. distinct: its values are already. Raises RequestNotValid for types
    that no feature has."""
    import pyarrow as pa

    kind, is_a = array.type, pa.types
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    missing = np.asarray(array.is_null()) if array.null_count else None
    if missing is None and is_a.is_primitive(kind) and not is_a.is_temporal(kind):  # what is most often sent
        return Column(array.to_numpy(zero_copy_only=False))
    text = is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind)
    if text and distinct:
        return Column(objects(array), missing)
    if text or is_a.is_dictionary(kind):
        array = array.dictionary_encode() if text else array
        codes = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        known = column_of(array.dictionary, name, distinct=True)
        if known.missing is not None and len(codes):  # null as one of the levels
            gone = known.missing[codes]
            missing = gone if missing is None else missing | gone
        return Column(known.values, missing, codes)
    if is_a.is_null(kind):
        return Column(np.zeros(len(array)), np.ones(len(array), dtype=bool))
    if is_a.is_decimal(kind):
        array = array.cast(pa.float64())
    elif is_a.is_date(kind):
        array = array.cast(pa.timestamp("s" if is_a.is_date32(kind) else "ms"))
    elif is_a.is_timestamp(kind):
        array = array.cast(pa.timestamp(kind.unit))  # its moments are UTC; the zone only says how to write them
    elif is_a.is_boolean(kind) or is_a.is_integer(kind) or is_a.is_floating(kind):
        pass
    else:
        message = f"column {short(name)!r}: its type {short(str(kind))} holds nothing that a feature could be"
        raise native.refused([native.fault("wrong_type", message, name)])
    if missing is not None:
        array = array.fill_null(False if is_a.is_boolean(kind) else pa.scalar(0, pa.int64()).cast(array.type))
    return Column(array.to_numpy(zero_copy_only=False), missing)


def objects(array: Any) -> Any:
    made = np.empty(len(array), dtype=object)
    made[:] = array.to_pylist()
    return made


def check_names(names: list[str]) -> None:
    if (twice := repeated(names)) is not None:
        raise BadBody(f"two of its columns have the name {twice[:60]!r}")


class Batches:
    """Record batches of any size put together, or apart, to blocks of so many rows."""

    def __init__(self, schema: FeatureSchema, rows: int) -> None:
        self._schema = schema
        self._rows = rows
        self._waiting: list[Any] = []
        self._waiting_rows = 0

    def add(self, batch: Any) -> Iterator[Block]:
        while batch.num_rows + self._waiting_rows > self._rows:
            first = self._rows - self._waiting_rows
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

        batches, self._waiting, self._waiting_rows = self._waiting, [], 0
        whole = batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).unify_dictionaries()
        columns = {
            name: column_of(whole.column(index), name) if name in self._schema.by_name else UNUSED
            for index, name in enumerate(whole.schema.names)
        }
        return ColumnBlock(columns, whole.num_rows)


# Arrow IPC streams


class Message:
    """What is read of a message before pyarrow gets it: its kind, and how long it is."""

    def __init__(self, metadata: bytes) -> None:
        try:
            self._data = metadata
            table = self._at("<I", 0)
            self.kind = int(self._field(table, 1, "<B"))
            self.body_bytes = int(self._field(table, 3, "<q"))
            header = self._place(table, 2)
            self.compressed = self.kind != SCHEMA and bool(header) and self._is_compressed(header)
        except struct.error:
            raise BadBody("it is no Arrow stream") from None
        if self.body_bytes < 0:
            raise BadBody("it is no Arrow stream")

    def _at(self, form: str, place: int) -> Any:
        if place < 0:
            raise struct.error
        return struct.unpack_from(form, self._data, place)[0]

    def _place(self, table: int, number: int) -> int:
        """Where a field of a flatbuffers table stands; 0 where it has its default."""
        names = table - self._at("<i", table)
        size = self._at("<H", names)
        offset = self._at("<H", names + 4 + 2 * number) if 4 + 2 * number < size else 0
        return table + offset if offset else 0

    def _field(self, table: int, number: int, form: str) -> Any:
        place = self._place(table, number)
        return self._at(form, place) if place else 0

    def _is_compressed(self, header: int) -> bool:
        batch = header + self._at("<I", header)
        if self.kind != RECORD_BATCH:  # a dictionary holds a batch
            data = self._place(batch, 1)
            if not data:
                return False
            batch = data + self._at("<I", data)
        return self._place(batch, 3) != 0


known_message = functools.lru_cache(64)(Message)  # batches of the same shape have the same metadata


class ArrowDecoder:
    """Messages are cut out of what came and handed to pyarrow when they are complete: a batch by itself, or where
    dictionaries belong to it by a reader that keeps them."""

    def __init__(self, schema: FeatureSchema, rows: int, most_bytes: int) -> None:
        self._batches = Batches(schema, rows)
        self._most_bytes = most_bytes
        self._rest = bytearray()
        self._schema: Any = None
        self._opening = b""  # the message that holds the schema
        self._source = Source()
        self._reader: Any = None
        self._ended = False

    def feed(self, piece: bytes) -> Iterator[Block]:
        self._rest += piece
        while not self._ended and (message := self._next()) is not None:
            kind, content = message
            if kind == SCHEMA:
                self._open(content)
            elif kind == RECORD_BATCH:
                yield from self._batch(content)
            else:
                self._source.add(content if self._reader else self._opening + content)
                self._read_on()
        if self._ended and self._rest:
            raise BadBody(f"{len(self._rest)} bytes follow the end of its stream")

    def rest(self) -> Iterator[Block]:
        if self._rest:
            raise BadBody("its Arrow stream is cut off")
        if self._schema is None:
            raise BadBody("it is no Arrow stream")
        yield from self._batches.rest()

    def close(self) -> None: ...

    def _next(self) -> tuple[int, bytes] | None:
        """The next message that is complete."""
        if len(self._rest) < 8:
            return None
        if not self._rest.startswith(CONTINUES):
            raise BadBody("it is no Arrow stream (a file in the Arrow file format is none either)")
        (length,) = struct.unpack_from("<i", self._rest, 4)
        if length == 0:
            self._ended = True
            del self._rest[:8]
            return None
        if not 0 < length <= MOST_METADATA:
            raise BadBody("it is no Arrow stream")
        if len(self._rest) < 8 + length:
            return None
        metadata = bytes(self._rest[8 : 8 + length])
        message = known_message(metadata) if length <= KNOWN_BYTES else Message(metadata)
        if message.compressed:
            raise BadBody("its buffers are compressed; compress the whole body instead (Content-Encoding: zstd)")
        end = 8 + length + message.body_bytes
        if end > self._most_bytes:
            raise BodyTooLarge(self._most_bytes, what="a record batch, to be written in smaller ones (max_chunksize),")
        if len(self._rest) < end:
            return None
        content = bytes(memoryview(self._rest)[:end])
        del self._rest[:end]
        return message.kind, content

    def _open(self, content: bytes) -> None:
        if self._schema is not None:
            raise BadBody("it holds two schemas")
        self._schema = known_schema(content) if len(content) <= KNOWN_BYTES else read_schema(content)
        self._opening = content

    def _read_on(self) -> None:
        import pyarrow as pa

        if self._schema is None:
            raise BadBody("it holds a dictionary before a schema")
        if self._reader is None:
            try:
                self._reader = pa.ipc.open_stream(pa.PythonFile(self._source, "r"))
            except failures() as error:
                raise unreadable(error) from None

    def _next_batch(self, content: bytes) -> Any:
        import pyarrow as pa

        if self._reader is None:
            return pa.ipc.read_record_batch(pa.py_buffer(content), self._schema)
        self._source.add(content)
        return self._reader.read_next_batch()

    def _batch(self, content: bytes) -> Iterator[Block]:
        if self._schema is None:
            raise BadBody("it holds rows before a schema")
        try:
            batch = self._next_batch(content)
            if batch.num_rows > len(content) * BITS:
                raise BadBody(f"a record batch of {len(content)} bytes cannot hold {batch.num_rows} rows")
            batch.validate(full=True)
            yield from self._batches.add(batch)
        except failures() as error:
            raise unreadable(error) from None


def read_schema(content: bytes) -> Any:
    """Of the message that opens a stream. Raises BadBody."""
    import pyarrow as pa

    try:
        schema = pa.ipc.read_schema(pa.py_buffer(content))
        check_names(schema.names)
    except failures() as error:
        raise unreadable(error) from None
    return schema


known_schema = functools.lru_cache(64)(read_schema)  # a client opens all of its streams with the same bytes


class Stands(NamedTuple):
    """Where the numbers of a column stand in a body."""

    name: str
    kind: "np.dtype[Any]"
    start: int


class Layout(NamedTuple):
    rows: int
    columns: tuple[Stands, ...]


def plain_block(schema: FeatureSchema, body: bytes, most_rows: int) -> Block | None:
    """The rows of what is most often sent: one batch of numbers without nulls, as views of the body. None for all else,
    right or wrong, which the decoder has to look at."""
    if len(body) < 16 or not body.endswith(END):
        return None
    opening = 8 + int.from_bytes(body[4:8], "little")
    begins = opening + 8 + int.from_bytes(body[opening + 4 : opening + 8], "little")
    size = len(body) - len(END) - begins
    if begins > KNOWN_BYTES or size < 0:
        return None
    layout = layout_of(body[:opening], body[opening:begins], size)
    if layout is None or not 0 < layout.rows <= most_rows:
        return None
    columns = {
        name: Column(np.frombuffer(body, kind, layout.rows, begins + start)) if name in schema.by_name else UNUSED
        for name, kind, start in layout.columns
    }
    return ColumnBlock(columns, layout.rows)


@functools.lru_cache(64)
def layout_of(opening: bytes, head: bytes, size: int) -> Layout | None:
    """How a schema and the head of a batch place numbers in the `size` bytes that follow; None for anything else.

    Both are read by pyarrow with nothing but zeros behind them. What it says of numbers without nulls does not depend
    on what they are, so it would say the same of any other bytes there.
    """
    import pyarrow as pa

    if not (opening.startswith(CONTINUES) and head.startswith(CONTINUES)):
        return None
    try:
        first, message = Message(opening[8:]), Message(head[8:])
        if (first.kind, first.body_bytes, message.kind, message.body_bytes) != (SCHEMA, 0, RECORD_BATCH, size):
            return None
        content = pa.py_buffer(head + bytes(size))
        batch = pa.ipc.read_record_batch(content, read_schema(opening))
        batch.validate(full=True)
    except BadBody:
        return None
    except failures():
        return None
    columns = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        start = start_of(array, content)
        if start is None or start < len(head):
            return None
        columns.append(Stands(name, np.dtype(array.type.to_pandas_dtype()), start - len(head)))
    if not columns or message.compressed:
        return None
    return Layout(batch.num_rows, tuple(columns))


def start_of(array: Any, content: Any) -> int | None:
    """Where the numbers of an array begin in the buffer that it was read from; None where it holds anything else, may
    hold nulls, or stands elsewhere."""
    import pyarrow as pa

    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)) or array.offset:
        return None
    nulls, numbers = array.buffers()
    if nulls is not None or numbers is None:
        return None
    start = int(numbers.address - content.address)
    return start if start >= 0 and start + numbers.size <= content.size else None


def unreadable(error: BaseException) -> BadBody:
    lines = str(error).splitlines()
    return BadBody(lines[0][:200] if lines else "it is no Arrow stream")


class Source:
    """A file that holds what was added and not yet read."""

    closed = False

    def __init__(self) -> None:
        self._content = b""
        self._place = 0

    def add(self, content: bytes) -> None:
        self._content = self._content[self._place :] + content
        self._place = 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._content) if size < 0 else self._place + size
        part = self._content[self._place : end]
        self._place += len(part)
        return part

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def flush(self) -> None: ...
    def close(self) -> None: ...


# Parquet files


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


# Answers


def answer_schema(model: TabularModel) -> Any:
    """`value`, or `label` and a `probability_…` for each class, then `warnings` and `error`, both text."""
    import pyarrow as pa

    classes = model.schema.classes
    if classes is None:
        fields = [pa.field("value", pa.float64())]
    else:
        label = pa.array(classes).type
        probabilities = [pa.field(f"probability_{class_key(one)}", pa.float32()) for one in classes]
        fields = [pa.field("label", label), *probabilities]
    texts = [pa.field("warnings", pa.string()), pa.field("error", pa.string())]
    return pa.schema([*fields, *texts], metadata={"model": model.name, "version": model.version})


class Table:
    """Answers as record batches: one row for each row of the request, null where there is none to be given."""

    def __init__(self, model: TabularModel) -> None:
        import pyarrow as pa

        self.schema = answer_schema(model)
        self.head = message_of(self.schema)
        classes = model.schema.classes
        self._labels = None if classes is None else pa.array(classes)
        self._around = functools.lru_cache(16)(self._around_values)

    def message(self, accepted: Accepted, answers: Answers, first_row: int) -> bytes:
        """A record batch as a message of a stream."""
        silent = accepted.valid is None and not accepted.warnings and not accepted.errors
        if self._labels is None and silent and accepted.count <= KNOWN_ROWS:
            before, after = self._around(accepted.count)
            return before + answers.astype(np.float64, copy=False).tobytes() + after
        return message_of(self.batch(accepted, answers, first_row))

    def _around_values(self, rows: int) -> tuple[bytes, bytes]:
        """What stands before and after the values of so many rows of which nothing is said."""
        import pyarrow as pa

        values = np.zeros((rows, 1))
        content = message_of(self.batch(Accepted(Frame(values, np.empty((rows, 0), np.int64)), rows), values, 0))
        buffer = pa.py_buffer(content)
        start = start_of(pa.ipc.read_record_batch(buffer, self.schema).column(0), buffer)
        assert start is not None
        return content[:start], content[start + values.nbytes :]

    def batch(self, accepted: Accepted, answers: Answers, first_row: int) -> Any:
        import pyarrow as pa

        columns = self._columns(answers)
        if accepted.valid is not None:
            gather = np.full(accepted.count, -1)
            gather[accepted.valid] = np.arange(len(accepted.valid))
            places = pa.array(gather, mask=gather < 0)
            columns = [column.take(places) for column in columns]
        warnings: list[str | None] = [None] * accepted.count
        for row, found in accepted.warnings.items():
            warnings[place(accepted, row)] = sentence(found)
        errors: list[str | None] = [None] * accepted.count
        for row, wrong in by_row(accepted, first_row).items():
            errors[row] = sentence(wrong)
        texts = [
            pa.array(list(map(sendable, said)), pa.string()) if any(said) else pa.nulls(accepted.count, pa.string())
            for said in (warnings, errors)
        ]
        return pa.record_batch([*columns, *texts], schema=self.schema)

    def _columns(self, answers: Answers) -> list[Any]:
        import pyarrow as pa

        if self._labels is None:
            return [pa.array(np.ascontiguousarray(answers.reshape(-1), dtype=np.float64))]
        if not len(answers):
            answers = np.empty((0, len(self._labels)), dtype=np.float32)
        best = self._labels.take(pa.array(answers.argmax(axis=1)))
        columns = np.ascontiguousarray(answers.T, dtype=np.float32)
        return [best, *map(pa.array, columns)]

    def stopped(self, error: RequestError) -> Any:
        """One more row, of no row of the request, whose `error` begins with `stopped:`."""
        import pyarrow as pa

        columns = [pa.nulls(1, field.type) for field in self.schema]
        return pa.record_batch([*columns[:-1], pa.array([sendable(stopped(error))])], schema=self.schema)


def sendable(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "replace").decode()


class Sink:
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


class ArrowEncoder:
    kind: ClassVar[bytes] = b"application/vnd.apache.arrow.stream"
    told: ClassVar[int] = ALL

    def __init__(self, table: Table) -> None:
        self._table = table

    def head(self) -> bytes:
        return self._table.head

    def block(self, accepted: Accepted, answers: Answers, first_row: int) -> bytes:
        return self._table.message(accepted, answers, first_row)

    def stop(self, error: RequestError) -> bytes:
        return message_of(self._table.stopped(error)) + self.end()

    def end(self) -> bytes:
        return END


def message_of(part: Any) -> bytes:
    """A schema or a record batch as a message of a stream."""
    content: bytes = part.serialize().to_pybytes()
    return content


class ParquetEncoder:
    """Row groups of some size: each block would be too small a one."""

    kind: ClassVar[bytes] = b"application/vnd.apache.parquet"
    told: ClassVar[int] = ALL

    def __init__(self, table: Table) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._table = table
        self._sink = Sink()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, "w"), table.schema)
        self._batches: list[Any] = []
        self._rows = 0

    def head(self) -> bytes:
        return self._sink.take()

    def block(self, accepted: Accepted, answers: Answers, first_row: int) -> bytes:
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
