"""The data of a call: rows, a pandas or polars frame, or anything that exports an Arrow stream."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Protocol

from tabserve_client.errors import InvalidInput
from tabserve_client.json_rows import json_rows


class Source(Protocol):
    """Rows that are sent in pieces. index: the labels of the rows in `Predictions.to_pandas`."""

    @property
    def count(self) -> int: ...

    @property
    def index(self) -> Any: ...

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Some rows as JSON values. Raises InvalidInput."""
        ...

    def arrow(self, start: int, stop: int) -> Any | None:
        """Some rows as an Arrow table; None if they must be sent as JSON."""
        ...


def has_pyarrow() -> bool:
    return find_spec("pyarrow") is not None


def source_of(data: Any) -> Source:
    """The source for the data of a call: one row, rows, a frame, or an Arrow table. Raises InvalidInput."""
    if isinstance(data, Mapping):
        return RowSource([data])
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return PandasSource(data)
    if (hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")) and has_pyarrow():
        return ArrowSource(arrow_table(data))
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(data, polars.DataFrame):
        return RowSource(list(data.iter_rows(named=True)))
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | bytearray):
        return RowSource(list(data))
    raise InvalidInput(f"{type(data).__name__} is not a row, a list of rows, a frame or an Arrow table")


def arrow_table(data: Any) -> Any:
    """An Arrow table from anything that exports a stream. Raises InvalidInput."""
    import pyarrow as pa

    try:
        table = pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidInput(f"{type(data).__name__} cannot be read as an Arrow table: {error}") from None
    check_names(table.column_names)
    return table


def check_names(names: Sequence[Any]) -> list[str]:
    """The names of columns as text. Raises InvalidInput for two equal names, and for names with several levels."""
    found: set[str] = set()
    for name in names:
        if isinstance(name, tuple):
            raise InvalidInput(f"the columns have names of several levels, such as {name!r}: join them to one text")
        if str(name) in found:
            raise InvalidInput(f"two columns have the name {str(name)!r}", field=str(name))
        found.add(str(name))
    return [*map(str, names)]


class RowSource:
    """Rows as mappings. They are sent as JSON regardless of their number, which preserves their types."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def index(self) -> Any:
        return None

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        return json_rows(self._rows[start:stop], start)

    def arrow(self, start: int, stop: int) -> Any | None:
        return None


class PandasSource:
    """A pandas frame. Its index is not sent."""

    def __init__(self, frame: Any) -> None:
        self._names = check_names(list(frame.columns))
        self._frame = frame

    @property
    def count(self) -> int:
        return len(self._frame)

    @property
    def index(self) -> Any:
        return self._frame.index

    @cached_property
    def _objects(self) -> list[int]:
        """The positions of columns of Python objects."""
        return [position for position, kind in enumerate(self._frame.dtypes) if str(kind) == "object"]

    def _is_mixed(self, position: int, start: int, stop: int) -> bool:
        """Whether a column has values of several types. pyarrow may convert them to one type: true would become 1.0."""
        from pandas.api.types import infer_dtype

        return infer_dtype(self._frame.iloc[start:stop, position], skipna=True) in ("mixed", "mixed-integer")

    @cached_property
    def _columns(self) -> list[Any]:
        """The columns in a form that can be sliced fast: NumPy arrays where pandas has them."""
        columns = [self._frame.iloc[:, position] for position in range(len(self._names))]
        return [column.to_numpy() if is_numpy_number(column.dtype) else column.iloc for column in columns]

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        piece = self._frame.iloc[start:stop]
        columns = [piece.iloc[:, position].tolist() for position in range(len(self._names))]
        rows = zip(*columns, strict=True) if columns else [()] * len(piece)
        return json_rows((dict(zip(self._names, row, strict=True)) for row in rows), start)

    def arrow(self, start: int, stop: int) -> Any | None:
        if (
            not self._names
            or not has_pyarrow()
            or any(self._is_mixed(position, start, stop) for position in self._objects)
        ):
            return None
        import pyarrow as pa

        try:
            arrays = [pa.array(column[start:stop], from_pandas=True) for column in self._columns]
            return pa.Table.from_arrays(arrays, self._names)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):  # a column with values of several types
            return None


def is_numpy_number(dtype: Any) -> bool:
    """Whether pandas stores the column as a NumPy array of numbers or booleans."""
    return type(dtype).__module__.startswith("numpy") and dtype.kind in "biuf"


class ArrowSource:
    """An Arrow table, or data that was converted to an Arrow table."""

    def __init__(self, table: Any) -> None:
        self._table = table

    @property
    def count(self) -> int:
        rows: int = self._table.num_rows
        return rows

    @property
    def index(self) -> Any:
        return None

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        return json_rows(self._table.slice(start, stop - start).to_pylist(), start)

    def arrow(self, start: int, stop: int) -> Any | None:
        return self._piece.slice(start, stop - start) if self._table.num_columns else None

    @cached_property
    def _piece(self) -> Any:
        return self._table.replace_schema_metadata(None)


def arrow_body(table: Any) -> bytes:
    """An Arrow stream with one record batch. A dictionary that is longer than its column is not sent."""
    import pyarrow as pa

    if any(pa.types.is_dictionary(kind) for kind in table.schema.types):
        table = pa.table({name: without_large_dictionary(table.column(name)) for name in table.column_names})
    table = table.combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def without_large_dictionary(column: Any) -> Any:
    """A column, without its dictionary if the dictionary is longer than the column."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return column
    longest = max((len(chunk.dictionary) for chunk in column.chunks), default=0)
    return column.cast(column.type.value_type) if longest > len(column) else column.unify_dictionaries()
