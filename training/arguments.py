"""Command line arguments: a flag for each field of an options dataclass."""

import argparse
import re
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from training.config import DataOptions, FitOptions, parse_names

Options = TypeVar("Options", DataOptions, FitOptions)


def add_options(parser: Any, options: type[Options]) -> None:
    """Add a flag for each field of a dataclass, with its default and its help text."""
    hints = get_type_hints(options)
    for field in fields(options):
        if field.name != "bundled":  # set by the argument NAME
            parser.add_argument("--" + field.name.replace("_", "-"), **_argument(field, hints[field.name]))


def _argument(field: "Field[Any]", hint: Any) -> dict[str, Any]:
    """The arguments of `add_argument` for a field with a type hint such as `int | None`."""
    kind = next(kind for kind in get_args(hint) if kind is not type(None)) if type(None) in get_args(hint) else hint
    help_text = str(field.metadata["help"]).replace("%", "%%")
    default = field.default
    default_text = "" if default in (None, (), "", MISSING) or isinstance(default, bool) else f" (default: {default})"
    common = {"help": help_text + default_text, "default": argparse.SUPPRESS}
    if field.name == "time":
        return common | {"type": parse_seconds, "metavar": "TIME"}
    if field.name == "memory":
        return common | {"type": parse_size, "metavar": "SIZE"}
    if kind is bool:
        return common | {"action": "store_true"}
    if get_origin(kind) is tuple:
        of_numbers = get_args(kind)[0] is int
        return common | {
            "type": parse_whole_numbers if of_numbers else parse_names,
            "metavar": "N,N" if of_numbers else "A,B",
        }
    if get_origin(kind) is Literal:
        return common | {"choices": get_args(kind)}
    return common | {"type": kind, "metavar": {int: "N", float: "X"}.get(kind, "TEXT")}


def parse_whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 64,32") from None


def parse_seconds(text: str) -> float:
    """The seconds of a duration such as 1h30m."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True)) if parts else 0
    )
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 20m, 90s or 1h30m")
    return seconds


def parse_size(text: str) -> int:
    """The bytes of a size such as 2GB."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)i?B?", text, re.IGNORECASE)
    if not parts or not float(parts[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 500MB or 2GB")
    return int(float(parts[1]) * 1000 ** " KMGT".index(parts[2].upper() or " "))


def options_from(options: type[Options], arguments: argparse.Namespace) -> Options:
    """An options dataclass with the values of the parsed arguments."""
    known = {field.name for field in fields(options)}
    return options(**{name: value for name, value in vars(arguments).items() if name in known})
