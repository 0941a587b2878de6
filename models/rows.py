"""Validates rows of JSON values. `ValidatedRows` contains the valid rows as a frame, their warnings, and the errors of
the invalid rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from models.cell_parsing import read_rows
from models.feature import Feature
from models.frame import FloatMatrix, Frame, Row
from models.number_rows import MIN_BYTES, Separator
from models.original_rows import OriginalRows, original_rows
from models.repeated_names import RepeatedName
from models.row_warnings import RowWarning, find_warnings
from models.schema import FeatureSchema
from models.text import did_you_mean, render, truncate

MAX_LISTED_ERRORS = 100


class RowError(NamedTuple):
    """One error of a request. `row` is counted from 0; it is None if the error concerns the whole request."""

    row: int | None
    field: str | None
    code: str
    message: str


class UndecodableRow(NamedTuple):
    """Replaces a row that could not be decoded."""

    code: str
    message: str


def repeated_field(marked: object, row: object) -> object:
    """The row itself, or `UndecodableRow` if a column occurs twice. marked: the result of `mark_repeated_names`."""
    if not isinstance(marked, RepeatedName):
        return row
    return UndecodableRow("repeated_field", f"the field {truncate(marked.name)!r} occurs more than once")


@dataclass
class ValidatedRows:
    """The valid rows of a request or a block as a frame, and the errors of the invalid rows."""

    frame: Frame
    count: int  # rows, valid or not
    valid: Sequence[int] | None = None  # the positions of the valid rows; None: all rows are valid
    errors: Sequence[RowError] = ()
    omitted: int = 0  # errors that are counted but not listed
    warnings: Mapping[int, Sequence[RowWarning]] = field(default_factory=dict)  # by the row's position in `frame`
    original: OriginalRows | None = None  # a sample of the valid rows; None if the frame has only numbers

    @property
    def invalid_rows(self) -> int:
        return self.count - len(self.frame.numbers)


def validate_rows(
    schema: FeatureSchema, rows: Sequence[object], *, first_row: int = 0, max_errors: int = MAX_LISTED_ERRORS
) -> ValidatedRows:
    """Validate rows, which are JSON values or `UndecodableRow`s. Invalid rows raise no exception.

    first_row: the number of the first row in errors. max_errors: the maximum number of listed errors; at most
    MAX_LISTED_ERRORS are listed for a single row.
    """
    if rows and (valid := schema.validators.validate_values(rows)) is not None:
        return from_valid_rows(schema, valid)
    if rows and schema.value_readers:
        rows = read_rows(schema.value_readers, rows)
        if (valid := schema.validators.validate_values(rows)) is not None:
            return from_valid_rows(schema, valid)
    return validate_each_value(schema, rows, first_row=first_row, max_errors=max_errors)


def from_valid_rows(schema: FeatureSchema, rows: Sequence[Row]) -> ValidatedRows:
    """Convert rows that are known to be valid."""
    frame = schema.frames.from_rows(rows)
    warnings = find_warnings(schema, frame, rows)
    return ValidatedRows(frame, len(rows), warnings=warnings, original=original_rows(rows))


def read_number_rows(schema: FeatureSchema, text: bytes, separator: Separator = b",") -> ValidatedRows | None:
    """Read many valid rows of numbers from a text of JSON objects with a separator between them; None for any other
    text."""
    if len(text) < MIN_BYTES or (reader := schema.number_rows) is None:
        return None
    matrix = reader.read(text, separator)
    return None if matrix is None else from_valid_matrix(schema, matrix)


def from_valid_matrix(schema: FeatureSchema, matrix: FloatMatrix) -> ValidatedRows:
    """Convert rows of numbers that are known to be valid, with columns in the order of the schema."""
    frame = Frame.from_numbers(matrix)
    return ValidatedRows(frame, len(matrix), warnings=find_warnings(schema, frame))


def validate_each_value(
    schema: FeatureSchema, rows: Sequence[object], *, first_row: int = 0, max_errors: int = MAX_LISTED_ERRORS
) -> ValidatedRows:
    """Validate rows value by value by `Feature.problem`. This is slower, but finds the reason for every error."""
    errors: list[RowError] = []
    omitted = 0
    valid: list[int] = []
    valid_rows: list[Row] = []
    for position, row in enumerate(read_rows(schema.value_readers, rows)):
        number = first_row + position
        found = [*_row_errors(schema, number, row)]
        unknown = [name for name in row if is_unknown(schema, name)] if isinstance(row, dict) else []
        if not found and not unknown:
            assert isinstance(row, dict)
            valid.append(position)
            valid_rows.append(row)
            continue
        room = min(max_errors - len(errors), MAX_LISTED_ERRORS)
        listed = found[:room]
        for name in unknown[: room - len(listed)]:
            listed.append(unknown_field(number, name, did_you_mean(name, schema.by_name)))
        errors += listed
        omitted += len(found) + len(unknown) - len(listed)
    validated = from_valid_rows(schema, valid_rows)
    validated.count, validated.valid = len(rows), None if len(valid) == len(rows) else valid
    validated.errors, validated.omitted = errors, omitted
    return validated


def _row_errors(schema: FeatureSchema, number: int, row: object) -> Iterator[RowError]:
    if isinstance(row, UndecodableRow):
        yield RowError(number, None, row.code, f"row {number}: {row.message}")
        return
    if not isinstance(row, dict):
        yield RowError(number, None, "wrong_type", f"row {number}: {render(row)} is not an object of columns")
        return
    for feature in schema.features:
        if feature.name in row:
            found = feature.problem(row[feature.name])
        else:
            found = None if feature.nullable else feature.absence_problem
        if found:
            yield feature_error(number, feature, *found)


def is_unknown(schema: FeatureSchema, name: str) -> bool:
    """Whether the training table has no column with this name."""
    return name not in schema.by_name and name not in schema.unused


def feature_error(number: int, feature: Feature, code: str, message: str) -> RowError:
    return RowError(number, feature.name, code, f"row {number}, feature {feature.name!r}: {message}")


def unknown_field(number: int, name: str, hint: str) -> RowError:
    message = f"row {number}, field {truncate(name)!r}: the table has no such column{hint}"
    return RowError(number, truncate(name), "unknown_field", message)


def concatenate(blocks: Sequence[ValidatedRows]) -> ValidatedRows:
    """Concatenate blocks of validated rows."""
    frame = Frame(*(np.concatenate(matrices) for matrices in zip(*(block.frame for block in blocks), strict=True)))
    valid, warnings, first, position = list[int](), dict[int, Sequence[RowWarning]](), 0, 0
    for block in blocks:
        valid += [first + row for row in (range(block.count) if block.valid is None else block.valid)]
        warnings |= {position + row: found for row, found in block.warnings.items()}
        first += block.count
        position += len(block.frame.numbers)
    errors = [error for block in blocks for error in block.errors]
    omitted = sum(block.omitted for block in blocks)
    # Only the sample of the first block with valid rows is used, because its positions need no offset.
    original = next((block.original for block in blocks if len(block.frame.numbers)), None)
    return ValidatedRows(frame, first, valid if len(valid) < first else None, errors, omitted, warnings, original)
