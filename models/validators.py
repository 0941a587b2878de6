"""Compiled validators, with which pydantic's core validates many rows in one pass.

They only recognise valid rows and stop at the first invalid row, so that no errors are collected. `models.rows` then
finds the errors; if it finds none, the rows are valid.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from pydantic_core import SchemaValidator, ValidationError, core_schema

from models.feature import Feature
from models.repeated_names import may_repeat
from models.text_score import MAX_CHARACTERS

EXACT = 2**63 - 1  # every JSON parser reads integer levels up to this one exactly
LONG_TEXT_BYTES = 16 * 1024  # a longer text may have many unknown columns, for each of which an error would be created
LONG_COLUMN_BYTES = 64  # additional bytes for each column of a line
ValidRows = list[dict[str, Any]]


class Validators(NamedTuple):
    """The compiled validators for one form of JSON text.

    numbers: the fastest validator, a function for rows of numbers only; None if the schema has other columns.
    names: checks that rows have known columns only. It runs first on long texts, because it stops at the first unknown
    column. rows: the validator for all rows.
    """

    numbers: Callable[[bytes], Any] | None
    names: SchemaValidator
    rows: SchemaValidator


class RowValidators:
    """Recognises valid rows. All methods return None for other rows; these may nevertheless be valid.

    A row whose JSON text may repeat a column is not recognised.
    """

    def __init__(self, features: Sequence[Feature], unused: Iterable[str]) -> None:
        """unused: columns that a row may have although the model does not use them."""
        self._features = features
        self._columns = len(features)
        self._unused = sorted(unused)

    def parse_body(self, body: bytes) -> ValidRows | None:
        """The rows of `{"rows": [{...}, ...]}`."""
        return self._parse(body, self._body_validators, "rows", 1)

    def parse_block(self, block: bytes) -> ValidRows | None:
        """The rows of `[[{...}, ...]]`."""
        return self._parse(block, self._block_validators, 0, 0)

    def parse_lines(self, lines: Sequence[bytes]) -> ValidRows | None:
        """The rows of lines that each contain a row as JSON."""
        longest = LONG_TEXT_BYTES + LONG_COLUMN_BYTES * len(self._features)
        if any(b"NaN" in line or b"Infinity" in line or len(line) > longest for line in lines):
            return None
        try:
            valid: ValidRows = [*map(self._row_validators.validate_json, lines)]
        except ValidationError:
            return None
        return None if may_repeat(b"".join(lines), sum(map(len, valid))) else valid

    def validate_values(self, rows: Sequence[object]) -> ValidRows | None:
        """The rows of a list of JSON values."""
        most = len(self._features) + len(self._unused)
        if any(isinstance(row, dict) and len(row) > most for row in rows):
            return None
        try:
            valid: ValidRows = self._body_validators.rows.validate_python({"rows": rows})["rows"]
        except ValidationError:
            return None
        return valid

    def _parse(self, text: bytes, validators: Validators, key: str | int, outer_names: int) -> ValidRows | None:
        """The valid rows of a text. outer_names: the number of JSON names outside the rows."""
        validate, columns = validators.numbers, self._columns
        if validate is None:
            return self._parse_any(text, validators, key, outer_names)
        try:
            valid: ValidRows = validate(text)[key]
        except ValidationError:
            return self._parse_any(text, validators, key, outer_names)
        if len(valid) == 1 and len(valid[0]) == columns and text.count(b":") == columns + outer_names:
            return valid  # the most common case, also covered by the next lines
        if min(map(len, valid)) < columns:  # no row has more columns
            return None
        return None if may_repeat(text, columns * len(valid) + outer_names) else valid

    def _parse_any(self, text: bytes, validators: Validators, key: str | int, outer_names: int) -> ValidRows | None:
        """The valid rows of a text, for columns of all kinds."""
        if b"NaN" in text or b"Infinity" in text:  # these would be accepted in unused columns
            return None
        try:
            if len(text) > LONG_TEXT_BYTES:
                validators.names.validate_json(text)
            valid: ValidRows = validators.rows.validate_json(text)[key]
        except ValidationError:
            return None
        return None if may_repeat(text, sum(map(len, valid)) + outer_names) else valid

    @cached_property
    def _body_validators(self) -> Validators:
        numbers = None if self._numbers_row is None else body_validator(self._numbers_row).validate_json
        return Validators(numbers, body_validator(self._named_row), body_validator(self._row))

    @cached_property
    def _block_validators(self) -> Validators:
        numbers = None if self._numbers_row is None else block_validator(self._numbers_row).validate_json
        return Validators(numbers, block_validator(self._named_row), block_validator(self._row))

    @cached_property
    def _row_validators(self) -> SchemaValidator:
        return SchemaValidator(self._row)

    @cached_property
    def _row(self) -> core_schema.CoreSchema:
        fields = {
            feature.name: core_schema.typed_dict_field(value_schema(feature), required=not feature.nullable)
            for feature in self._features
        }
        for name in self._unused:
            fields[name] = core_schema.typed_dict_field(core_schema.any_schema(), required=False)
        return core_schema.typed_dict_schema(fields, extra_behavior="forbid")

    @cached_property
    def _named_row(self) -> core_schema.CoreSchema:
        """A row of known columns, with any values."""
        names = core_schema.literal_schema([*(feature.name for feature in self._features), *self._unused])
        return core_schema.dict_schema(names, core_schema.any_schema(), fail_fast=True)

    @cached_property
    def _numbers_row(self) -> core_schema.CoreSchema | None:
        """A row of numbers that are never missing and have no limits, which is validated twice as fast; None for other
        schemas. It accepts missing columns, but no unused columns."""
        for feature in self._features:
            if feature.kind != "number" or feature.nullable or feature.low is not None or feature.high is not None:
                return None
        names = core_schema.literal_schema([feature.name for feature in self._features])
        return core_schema.dict_schema(names, value_schema(self._features[0]), fail_fast=True)


def value_schema(feature: Feature) -> core_schema.CoreSchema:
    """The rules of `Feature.problem` for one value. The schema may refuse more values, but never fewer."""
    schema: core_schema.CoreSchema
    if feature.kind == "number":
        schema = core_schema.float_schema(strict=True, allow_inf_nan=False, ge=feature.low, le=feature.high)
    elif feature.kind == "boolean" or feature.level_type == "boolean":
        schema = core_schema.bool_schema(strict=True)
    elif feature.kind == "text":
        schema = core_schema.str_schema(strict=True, max_length=MAX_CHARACTERS)
    elif feature.kind == "category" and feature.level_type == "number":
        # Integer levels remain integers, because as floats large integers could become equal.
        whole = core_schema.int_schema(strict=True, ge=-EXACT, le=EXACT)
        other = core_schema.float_schema(strict=True, allow_inf_nan=False, ge=-EXACT, le=EXACT)
        schema = core_schema.union_schema([whole, other], mode="left_to_right")
    else:
        schema = core_schema.str_schema(strict=True)
    if feature.kind == "date" or feature.unseen == "error":
        schema = core_schema.no_info_after_validator_function(feature.ensure_valid, schema)
    return core_schema.nullable_schema(schema) if feature.nullable else schema


def body_validator(row: core_schema.CoreSchema) -> SchemaValidator:
    """A validator of `{"rows": [row, ...]}`."""
    rows = core_schema.list_schema(row, min_length=1, fail_fast=True)
    key = core_schema.literal_schema(["rows"])
    return SchemaValidator(core_schema.dict_schema(key, rows, min_length=1, fail_fast=True))


def block_validator(row: core_schema.CoreSchema) -> SchemaValidator:
    """A validator of `[[row, ...]]`."""
    rows = core_schema.list_schema(row, min_length=1, fail_fast=True)
    return SchemaValidator(core_schema.list_schema(rows, min_length=1, max_length=1, fail_fast=True))
