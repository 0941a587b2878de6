"""Parts of JSON texts: arrays of numbers, values, row errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from models.outputs import Answers
from models.rows import RowError


def numbers(array: Answers) -> bytes:
    """The JSON array of an array without its brackets, each number in the fewest digits of the array's precision."""
    return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # text that is not valid Unicode, or an integer of more than 64 bits
        return orjson.dumps(repaired(value), default=str)


def escaped(value: Any) -> bytes:
    """The JSON of a value as a part of a template."""
    return dumps(value).replace(b"%", b"%%")


def listed(errors: Sequence[RowError]) -> list[dict[str, Any]]:
    return [{"row": error.row, "field": error.field, "code": error.code, "message": error.message} for error in errors]


def repaired(value: Any) -> Any:
    """The same JSON value with what cannot be encoded as UTF-8 replaced by question marks."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {repaired(key): repaired(item) for key, item in value.items()}
    return [repaired(item) for item in value] if isinstance(value, list) else value
