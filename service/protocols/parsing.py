"""Parsing shared by all protocols: JSON, and errors of the request itself."""

from codecs import BOM_UTF8
from typing import Any

from models import json_text
from models.repeated_names import first_repeated, mark_repeated_names
from models.rows import MAX_LISTED_ERRORS, RowError
from models.text import truncate
from service.errors import BadJson, RequestNotValid

ON_INVALID_OPTIONS = ("fail", "skip")


def parse_json(body: bytes, *, constants: bool = False) -> Any:
    """Like `parse_with_repeated_names`. Also raises RequestNotValid if a name occurs twice in an object."""
    document = parse_with_repeated_names(body, constants=constants)
    if (name := first_repeated(mark_repeated_names(body.removeprefix(BOM_UTF8), document))) is not None:
        name = truncate(name)
        raise invalid_request(
            [error_entry("repeated_key", f"the key {name!r} occurs more than once in an object", name)]
        )
    return document


def parse_with_repeated_names(body: bytes, *, constants: bool = False) -> Any:
    """Parse a JSON body, without a byte order mark. constants: accept NaN and Infinity, which are not JSON. Raises
    BadJson."""
    try:
        return json_text.parse(body.removeprefix(BOM_UTF8), constants=constants)
    except json_text.JsonError as error:
        raise BadJson(str(error)) from None


def error_entry(code: str, message: str, field: str | None = None) -> RowError:
    """An error of the request itself, not of one row."""
    return RowError(None, field, code, message)


def invalid_request(errors: list[RowError], omitted: int = 0) -> RequestNotValid:
    """The error response that lists these errors, and counts the errors beyond MAX_LISTED_ERRORS."""
    omitted += max(0, len(errors) - MAX_LISTED_ERRORS)
    return RequestNotValid(errors[0].message, errors[:MAX_LISTED_ERRORS], omitted)
