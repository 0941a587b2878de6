"""The JSON bodies of the native API: parsing and validation. Pure functions."""

from codecs import BOM_UTF8
from typing import Any

from models.repeated_names import RepeatedName, mark_repeated_names
from models.rows import MAX_LISTED_ERRORS, RowError, ValidatedRows, from_valid_rows, repeated_field, validate_rows
from models.schema import FeatureSchema
from models.text import did_you_mean, truncate
from service.error_mapping import require_valid
from service.errors import TooManyRows
from service.protocols import json_blocks
from service.protocols.parsing import ON_INVALID_OPTIONS, error_entry, invalid_request, parse_with_repeated_names

LARGE_BODY_BYTES = 4 * json_blocks.BLOCK_BYTES  # larger bodies are validated block by block


def validate_request(schema: FeatureSchema, body: bytes, on_invalid: str, max_rows: int) -> ValidatedRows:
    """Validate the body of a predict request. Raises BadJson, RequestNotValid, TooManyRows or RowsNotValid."""
    return require_valid(validate_body(schema, body, on_invalid, max_rows), skip=on_invalid == "skip")


def validate_body(schema: FeatureSchema, body: bytes, on_invalid: str, max_rows: int) -> ValidatedRows:
    """Like `validate_request`, but invalid rows do not raise an exception. Raises BadJson, RequestNotValid or
    TooManyRows.

    The compiled validators accept only valid rows. All other bodies are parsed and validated again, for the errors.
    """
    if on_invalid in ON_INVALID_OPTIONS:
        if len(body) > LARGE_BODY_BYTES and (blocks := json_blocks.validate(schema, body, max_rows)) is not None:
            return blocks
        read = json_blocks.read_number_body(schema, body)
        if read is not None:
            if read.count > max_rows:
                raise TooManyRows(read.count, max_rows)
            return read
        valid = schema.validators.parse_body(body)
        if valid is not None:
            if len(valid) > max_rows:
                raise TooManyRows(len(valid), max_rows)
            return from_valid_rows(schema, valid)
    rows, errors = parse_document(body, on_invalid, max_rows)
    validated = validate_rows(schema, rows)
    if errors:
        raise invalid_request([*errors, *validated.errors], validated.omitted)
    return validated


def marked_rows(rows: list[Any], marked: Any) -> list[Any]:
    """The rows, with `UndecodableRow` for rows in which a column occurs twice. marked: the result of
    `mark_repeated_names`."""
    if not isinstance(marked, dict) or not isinstance(marked["rows"], list):
        return rows
    return [repeated_field(each, row) for each, row in zip(marked["rows"], rows, strict=True)]


def parse_document(body: bytes, on_invalid: str, max_rows: int) -> tuple[list[Any], list[RowError]]:
    """The rows as JSON values, and the errors of the request itself."""
    document = parse_with_repeated_names(body)
    marked = mark_repeated_names(body.removeprefix(BOM_UTF8), document)
    errors: list[RowError] = []
    if on_invalid not in ON_INVALID_OPTIONS:
        errors.append(
            error_entry("unknown_option", f"on_invalid={truncate(on_invalid)!r} is unknown, expected fail or skip")
        )
    if not isinstance(document, dict):
        kind = "an array" if isinstance(document, list) else "not an object"
        raise invalid_request([*errors, error_entry("wrong_type", f'the body is {kind}, expected {{"rows": [...]}}')])
    if isinstance(marked, RepeatedName):
        name = truncate(marked.name)
        errors.append(error_entry("repeated_key", f"the key {name!r} occurs more than once", name))
    unknown = [key for key in document if key != "rows"]
    for key in unknown[:MAX_LISTED_ERRORS]:
        message = f"unknown key {truncate(key)!r}{did_you_mean(key, ['rows'])}"
        errors.append(error_entry("unknown_key", message, truncate(key)))
    errors += errors[-1:] * len(unknown[MAX_LISTED_ERRORS:])  # the error is counted and not listed
    rows = document.get("rows")
    if "rows" not in document:
        errors.append(error_entry("missing_rows", """the body has no 'rows', expected {"rows": [...]}""", "rows"))
    elif not isinstance(rows, list):
        errors.append(error_entry("wrong_type", "'rows' is not an array of rows", "rows"))
    elif not rows:
        errors.append(error_entry("empty_rows", "'rows' is empty, expected one row or more", "rows"))
    elif len(rows) > max_rows:
        raise TooManyRows(len(rows), max_rows)
    else:
        return marked_rows(rows, marked), errors
    raise invalid_request(errors)
