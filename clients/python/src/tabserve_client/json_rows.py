"""Rows as JSON: values of Python, NumPy and pandas are converted to JSON values; other values are errors."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from tabserve_client.errors import InvalidInput

Row = Mapping[str, Any]
PLAIN = frozenset([str, int, bool, type(None)])
PANDAS_MISSING = frozenset(["NAType", "NaTType"])


def json_value(value: Any) -> Any:
    """The JSON value of a cell. NaN, NA and NaT are null, times are text in ISO 8601. Raises TypeError."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind.__module__.partition(".")[0] == "numpy":
        return numpy_value(value)
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, Enum):
        return json_value(value.value)
    if kind.__name__ in PANDAS_MISSING:
        return None
    if isinstance(value, Decimal):
        return decimal_value(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds" if value.microsecond else "seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | UUID):
        return str(value)
    if isinstance(value, int):
        return int(value)
    return container_value(value)


def container_value(value: Any) -> Any:
    """A list or an object. The server refuses it as a cell, with a message that names row and field."""
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def numpy_value(value: Any) -> Any:
    """The JSON value of a NumPy scalar or array."""
    if value.dtype.kind == "M":
        return json_value(value.astype("datetime64[us]").item())  # a time in nanoseconds would become an integer
    if value.dtype.kind in "biufUO":
        return json_value(value.tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def decimal_value(value: Decimal) -> int | float | None:
    if value.is_nan():
        return None
    return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)


def json_row(row: object, number: int) -> dict[str, Any]:
    """A row with JSON values. number: the position of the row in the data of the call. Raises InvalidInput."""
    if not isinstance(row, Mapping):
        raise InvalidInput(f"a row must be a mapping of column names to values, not {type(row).__name__}", number)
    found = {}
    for name, value in row.items():
        if type(name) is not str:
            raise InvalidInput(f"the name of a column must be text, not {type(name).__name__} {name!r}", number)
        try:
            found[name] = value if type(value) in PLAIN else json_value(value)
        except TypeError as error:
            raise InvalidInput(str(error), number, name) from None
        except RecursionError:
            raise InvalidInput("a list or an object that contains itself", number, name) from None
    return found


def json_rows(rows: Iterable[object], first_row: int = 0) -> list[dict[str, Any]]:
    """Rows with JSON values. Raises InvalidInput."""
    return [json_row(row, number) for number, row in enumerate(rows, first_row)]


def row_text(row: Row) -> str:
    """A row of JSON values as JSON. An infinite number is written as 1e999, which the server refuses with row and
    field."""
    try:
        return json.dumps(row, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return "{" + ",".join(f"{json.dumps(name)}:{cell_text(cell)}" for name, cell in row.items()) + "}"


def cell_text(value: Any) -> str:
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    if isinstance(value, list):
        return "[" + ",".join(map(cell_text, value)) + "]"
    if isinstance(value, dict):
        return row_text(value)
    try:
        return json.dumps(value)
    except ValueError:  # Python's limit for the digits of an integer
        raise InvalidInput("an integer has more digits than JSON can have here") from None


def json_body(rows: Sequence[Row]) -> bytes:
    return ('{"rows":[' + ",".join(map(row_text, rows)) + "]}").encode()


def ndjson_body(rows: Sequence[Row]) -> bytes:
    return "".join([row_text(row) + "\n" for row in rows]).encode()
