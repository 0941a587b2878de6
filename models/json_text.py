"""Parses JSON values, and writes arrays of numbers, values and row errors as JSON."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic_core import from_json

from models.rows import RowError

MAX_DIGITS = 4000  # maximum length of an integer that is read exactly
MAX_DEPTH = 200  # maximum depth of nested values, as in `from_json`


class JsonError(ValueError):
    """The text is not JSON. The message gives the reason."""


def parse(text: bytes, *, constants: bool = False) -> Any:
    """Parse a JSON text. constants: accept NaN and Infinity, which are not JSON. Raises JsonError."""
    try:
        return from_json(text, allow_inf_nan=constants)
    except ValueError as error:
        reason = str(error)
    if "number out of range" in reason:  # valid JSON, but an integer with thousands of digits
        with contextlib.suppress(ValueError, RecursionError):
            constant = None if constants else _refuse_constant
            value = json.loads(text.decode(), parse_int=_integer, parse_constant=constant)
            json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates, as `from_json` does
            if not is_nested_deeper(value, MAX_DEPTH):
                return value
            reason = "recursion limit exceeded"
    raise JsonError(reason)


def is_nested_deeper(value: Any, depth: int) -> bool:
    """Whether more than `depth` arrays and objects are nested."""
    level = [value]
    for _ in range(depth + 1):
        nested = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        if not nested:
            return False
        level = [inner for each in nested for inner in each]
    return True


def _integer(digits: str) -> int | float:
    """Parse an integer. Return infinity if it has more digits than any float, because parsing it would take a long
    time."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def numbers(array: npt.NDArray[Any]) -> bytes:
    """An array as JSON without its brackets. Each number has the fewest digits that preserve the array's precision."""
    return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def short_floats(values: npt.NDArray[Any]) -> list[float]:
    """The numbers as Python floats with the fewest digits that preserve the array's precision."""
    floats: list[float] = orjson.loads(orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY))
    return floats


def dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # text that is not valid Unicode, or an integer of more than 64 bits
        return orjson.dumps(replace_surrogates(value), default=str)


def template_json(value: Any) -> bytes:
    """The JSON of a value as part of a template."""
    return dumps(value).replace(b"%", b"%%")


def error_entries(errors: Sequence[RowError]) -> list[dict[str, Any]]:
    return [{"row": error.row, "field": error.field, "code": error.code, "message": error.message} for error in errors]


def replace_surrogates(value: Any) -> Any:
    """The same JSON value, with question marks in place of characters that cannot be encoded as UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {replace_surrogates(key): replace_surrogates(item) for key, item in value.items()}
    return [replace_surrogates(item) for item in value] if isinstance(value, list) else value
