"""Finds names that occur more than once in an object of a JSON text, of which parsers silently keep the last value.

Counting is enough for nearly all texts: every name is followed by a colon, so a text has no more names than colons. If
the parsed value has as many, none was lost.
"""

import json
import re
from typing import Any, NamedTuple

import numpy as np

COLON = ord(":")
LONG_BYTES = 8192
SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')


class RepeatedName(NamedTuple):
    """Stands for an object that repeats a name."""

    name: str


def may_repeat(text: bytes, names: int) -> bool:
    """Whether a text may repeat a name, if it was parsed to objects with this number of names. False is certain."""
    if (text.count(b":") if len(text) < LONG_BYTES else _colons(text)) == names:
        return False
    return text.count(b'":') != names or SPACED_COLON.search(text) is not None  # colons in texts, such as times


def _colons(text: bytes) -> int:
    """The number of colons: on long texts NumPy counts them seven times as fast."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == COLON))


def marked_if_repeated(text: bytes, value: Any) -> Any:
    """`parse_marked` of a JSON text that repeats a name in an object; None if it repeats none.

    value: the parsed text.
    """
    if not may_repeat(text, _names_of_rows(value)) or not may_repeat(text, _names(value)):
        return None
    marked = parse_marked(text)
    return None if first_repeated(marked) is None else marked


def parse_marked(text: bytes) -> Any:
    """The value of a JSON text that was parsed before, without its numbers and with RepeatedName for such objects."""
    return json.loads(text.decode(), object_pairs_hook=_marked, parse_int=_ignored, parse_float=_ignored)


def first_repeated(value: Any) -> str | None:
    """The name of the first RepeatedName at any depth."""
    if isinstance(value, RepeatedName):
        return value.name
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((name for each in inner if (name := first_repeated(each)) is not None), None)


def _marked(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return RepeatedName(name)
        seen.add(name)
    raise AssertionError("unreachable: fewer names than pairs")


def _ignored(text: str) -> None:
    """Replaces a number, which has no names."""


def _names_of_rows(value: Any) -> int:
    """The number of names, if no object is nested deeper than the rows of a request."""
    if not isinstance(value, dict):
        return sum(len(row) for row in value if isinstance(row, dict)) if isinstance(value, list) else 0
    count = len(value)
    for inner in value.values():
        if isinstance(inner, dict):
            count += len(inner)
        elif isinstance(inner, list):
            count += sum(len(row) for row in inner if isinstance(row, dict))
    return count


def _names(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_names, value.values()))
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return sum(map(_names, value))
    return 0
