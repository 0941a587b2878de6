"""Compiled validators: pydantic's core checks whole bodies of rows in one pass."""

from pydantic_core import SchemaValidator, core_schema

LONG, LONG_COLUMN = (
    16 * 1024,
    64,
)  # bytes of a text that may name so many columns that telling of each would be a burden


def body_validator(row: core_schema.CoreSchema) -> SchemaValidator:
    """Of `{"rows": [row, ...]}`. Like the others it gives up at the first fault: nobody reads what it says."""
    rows = core_schema.list_schema(row, min_length=1, fail_fast=True)
    key = core_schema.literal_schema(["rows"])
    return SchemaValidator(core_schema.dict_schema(key, rows, min_length=1, fail_fast=True))


def piece_validator(row: core_schema.CoreSchema) -> SchemaValidator:
    """Of `[[row, ...]]`."""
    rows = core_schema.list_schema(row, min_length=1, fail_fast=True)
    return SchemaValidator(core_schema.list_schema(rows, min_length=1, max_length=1, fail_fast=True))
