"""Reads tables with column types: Parquet, Feather, and Arrow files and streams."""

from typing import Any

import pyarrow as pa
import pyarrow.feather as arrow_feather
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet

from models.text import truncate
from training.errors import UsageError
from training.raw_table import RawTable, check_names

STARTS = {
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",  # version 2 of Feather uses the same first bytes
    b"FEA1": "Feather",
    b"\xff\xff\xff\xff": "Arrow",  # an Arrow stream
}


def format_of(content: bytes) -> str | None:
    """Return the name of the format with these first bytes, or None."""
    return next((name for start, name in STARTS.items() if content.startswith(start)), None)


def read_arrow(content: bytes, where: str) -> RawTable:
    """Read content that `format_of` recognises. Raises UsageError."""
    name = str(format_of(content))
    try:
        table = _read(content, where)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise read_failure(where, name, error) from None
    if table.num_rows == 0:
        raise UsageError(f"{where} has no rows")
    names = list(table.column_names)
    check_names(names, where)
    categorical = frozenset(categorical_columns(table.schema))
    columns = [exact_decimals(column) for column in table.columns]
    return RawTable(names, columns, True, table.num_rows, [], {"format": name}, categorical=categorical)


def _read(content: bytes, where: str) -> Any:
    source = pa.BufferReader(content)
    if content.startswith(b"PAR1"):
        check_names(arrow_parquet.ParquetFile(source).schema_arrow.names, where)
        return arrow_parquet.read_table(pa.BufferReader(content))
    if content.startswith(b"FEA1"):
        return arrow_feather.read_table(source)
    open_format = arrow_ipc.open_file if content.startswith(b"ARROW1") else arrow_ipc.open_stream
    return open_format(source).read_all()


def read_failure(where: str, name: str, error: Exception) -> UsageError:
    """The error for a file that cannot be read. name: the name of its format."""
    message = truncate(" ".join(str(error).split()), 200)
    return UsageError(f"{where} is a file in the {name} format that cannot be read: {message}")


def categorical_columns(schema: Any) -> set[str]:
    """The columns that pandas stored as categorical."""
    columns = (schema.pandas_metadata or {}).get("columns", [])
    return {column["name"] for column in columns if column["pandas_type"] == "categorical"}


def exact_decimals(column: Any) -> Any:
    """Convert decimals without fraction digits to integers, or to text beyond 64 bits: most of them are identifiers."""
    if not pa.types.is_decimal(column.type) or column.type.scale > 0:
        return column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column.cast(pa.large_string())
