"""The API's own JSON: a body to validated rows. Pure functions; no HTTP, no BentoML."""

from typing import Any

from models import json_text
from models.rows import MAX_LISTED_ERRORS, RowError, ValidatedRows, from_valid_rows, validate_rows
from models.schema import FeatureSchema
from models.text import did_you_mean, truncate
from service.error_mapping import require_valid
from service.errors import BadJson, RequestNotValid, TooManyRows
from service.protocols import json_blocks

OPTIONS = ("fail", "skip")
LARGE_BODY_BYTES = 4 * json_blocks.BLOCK_BYTES  # a larger body is read block by block


def validate_request(schema: FeatureSchema, body: bytes, on_invalid: str, max_rows: int) -> ValidatedRows:
    """The body of a predict request. Raises BadJson, RequestNotValid, TooManyRows or RowsNotValid."""
    return require_valid(validate_body(schema, body, on_invalid, max_rows), skip=on_invalid == "skip")


def validate_body(schema: FeatureSchema, body: bytes, on_invalid: str, max_rows: int) -> ValidatedRows:
    """`read`, whatever the rows are. Raises BadJson, RequestNotValid or TooManyRows.

    The compiled validators recognise only valid rows. Whatever they do not is validated again by the rules themselves.
    """
    if on_invalid in OPTIONS:
        if len(body) > LARGE_BODY_BYTES and (blocks := json_blocks.validate(schema, body, max_rows)) is not None:
            return blocks
        valid = schema.validators.parse_body(body)
        if valid is not None:
            if len(valid) > max_rows:
                raise TooManyRows(len(valid), max_rows)
            return from_valid_rows(schema, valid)
    rows, faults = parse_document(body, on_invalid, max_rows)
    validated = validate_rows(schema, rows)
    if faults:
        raise invalid_request([*faults, *validated.errors], validated.omitted)
    return validated


def parse_document(body: bytes, on_invalid: str, max_rows: int) -> tuple[list[Any], list[RowError]]:
    """The rows as JSON values, and the errors of the request around them."""
    document = parse_json(body)
    faults: list[RowError] = []
    if on_invalid not in OPTIONS:
        faults.append(
            error_entry("unknown_option", f"on_invalid={truncate(on_invalid)!r} is unknown, expected fail or skip")
        )
    if not isinstance(document, dict):
        kind = "an array" if isinstance(document, list) else "no object"
        raise invalid_request([*faults, error_entry("wrong_type", f'the body is {kind}, expected {{"rows": [...]}}')])
    unknown = [key for key in document if key != "rows"]
    for key in unknown[:MAX_LISTED_ERRORS]:
        message = f"{truncate(key)!r} is no key of the body{did_you_mean(key, ['rows'])}"
        faults.append(error_entry("unknown_key", message, truncate(key)))
    faults += faults[-1:] * len(unknown[MAX_LISTED_ERRORS:])  # no more are listed; they only count
    rows = document.get("rows")
    if "rows" not in document:
        faults.append(error_entry("missing_rows", "the body has no 'rows'", "rows"))
    elif not isinstance(rows, list):
        faults.append(error_entry("wrong_type", "'rows' is not an array of rows", "rows"))
    elif not rows:
        faults.append(error_entry("empty_rows", "'rows' is empty, expected one row or more", "rows"))
    elif len(rows) > max_rows:
        raise TooManyRows(len(rows), max_rows)
    else:
        return rows, faults
    raise invalid_request(faults)


def parse_json(body: bytes, *, constants: bool = False) -> Any:
    """The JSON value of a body. constants: also NaN and Infinity, which are not JSON. Raises BadJson."""
    try:
        return json_text.parse(body, constants=constants)
    except json_text.JsonError as error:
        raise BadJson(str(error)) from None


def error_entry(code: str, message: str, name: str | None = None) -> RowError:
    return RowError(None, name, code, message)


def invalid_request(faults: list[RowError], omitted: int = 0) -> RequestNotValid:
    omitted += max(0, len(faults) - MAX_LISTED_ERRORS)
    return RequestNotValid(faults[0].message, faults[:MAX_LISTED_ERRORS], omitted)
