"""Parses the options for intervals, label sets and explanations from a query or from JSON parameters."""

from collections.abc import Mapping

from models.output_options import Explain, OptionError, OutputOptions
from models.text import render

OPTION_NAMES = ("interval", "set", "explain")
MAX_LEVELS = 10  # maximum number of levels in one request
EXPLAIN: Mapping[str, Explain] = {"true": "full", "false": "none", "fast": "fast"}


def parse_output_options(values: Mapping[str, object]) -> OutputOptions:
    """Parse the options of a request. interval, set: a number, a text such as `0.5,0.9`, or a list of numbers; an empty
    text means no level. explain: true, fast or false.

    Other names are ignored. Raises OptionError.
    """
    intervals, sets = (parse_levels(values[name]) if values.get(name, "") != "" else () for name in ("interval", "set"))
    return OutputOptions(intervals, sets, parse_explain(values.get("explain", "false")))


def parse_explain(value: object) -> Explain:
    """Parse a boolean, or `true`, `fast` or `false`. Raises OptionError."""
    text = str(value).lower() if isinstance(value, bool) else value
    if not isinstance(text, str) or text not in EXPLAIN:
        raise OptionError(f"explain={render(value)} is unknown, expected true, fast or false")
    return EXPLAIN[text]


def parse_levels(value: object) -> tuple[float, ...]:
    """Parse a number, a text such as `0.5,0.9` or a list of numbers. Raises OptionError."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    if len(parts) > MAX_LEVELS:
        raise OptionError(f"{len(parts)} levels, expected at most {MAX_LEVELS}")
    return tuple(dict.fromkeys(map(parse_level, parts)))


def parse_level(value: object) -> float:
    """Parse a number between 0 and 1, or its text. Raises OptionError."""
    try:
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and 0 < (level := float(value)) < 1:
            return level
    except (ValueError, OverflowError):  # reported below
        pass
    raise OptionError(f"{render(value)} is not a level between 0 and 1")
