"""Validates whole columns at NumPy's speed. The result equals that of `validate_rows` for their rows.

A mask marks the invalid values of a column. `Feature.problem` is called only for the errors that are listed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.columns import Array, Column, ColumnRows, Columns, Mask
from models.date_parsing import epoch_seconds, has_year
from models.fast.common_numbers import common_columns
from models.feature import MISSING, Feature
from models.frame import Frame
from models.original_rows import original_columns
from models.row_warnings import find_warnings, in_range
from models.rows import (
    MAX_LISTED_ERRORS,
    RowError,
    ValidatedRows,
    feature_error,
    is_unknown,
    unknown_field,
    validate_rows,
)
from models.schema import FeatureSchema
from models.text import did_you_mean, render

SINGLE_ROW = 1  # one row is validated faster as a row than as columns
InvalidMasks = dict[str, Mask | None]  # by name of an invalid column; None: invalid in every row


def validate_columns(
    schema: FeatureSchema,
    columns: Columns,
    count: int,
    *,
    first_row: int = 0,
    max_errors: int = MAX_LISTED_ERRORS,
) -> ValidatedRows:
    """Validate `count` rows that are given as whole columns. Invalid rows raise no exception.

    first_row: the number of the first row in errors. max_errors: the maximum number of listed errors.
    """
    whole = {name: values for name, (values, missing, codes) in columns.items() if missing is None and codes is None}
    if len(whole) == len(columns) and (common := common_columns(schema, whole, count)) is not None:
        return ValidatedRows(common, count)
    if count <= SINGLE_ROW and not any(column.values.dtype.kind == "M" for column in columns.values()):
        return validate_rows(schema, [*ColumnRows(columns, count)], first_row=first_row, max_errors=max_errors)
    columns = _read_texts(schema, columns)
    frame, invalid = _convert(schema, columns, count)
    unknown = [name for name in columns if is_unknown(schema, name)]
    if not invalid and not unknown and in_range(schema, frame):
        return ValidatedRows(frame, count, original=original_columns(columns, count))
    _mark_limits(schema, frame.numbers, invalid)
    validated = ValidatedRows(frame, count)
    if count and (invalid or unknown):
        validated = _with_errors(schema, columns, validated, invalid, unknown, first_row, max_errors)
    validated.warnings = find_warnings(schema, validated.frame, ColumnRows(columns, count, validated.valid))
    validated.original = original_columns(columns, count, validated.valid)
    return validated


def _read_texts(schema: FeatureSchema, columns: Columns) -> Columns:
    """The columns, with texts parsed where a column may contain numbers or missing values as text."""
    readers = schema.value_readers
    if readers.keys().isdisjoint(columns):
        return columns
    return {name: readers[name].read_column(column) if name in readers else column for name, column in columns.items()}


def _convert(schema: FeatureSchema, columns: Columns, count: int) -> tuple[Frame, InvalidMasks]:
    """The columns as a frame, and masks of the values of a wrong type and of missing required columns."""
    numbers = np.full((count, len(schema.numeric)), np.nan, order="F")
    codes = np.full((count, len(schema.categorical)), MISSING, dtype=np.int64)
    invalid: InvalidMasks = {}
    for index, feature in enumerate(schema.numeric):
        column = columns.get(feature.name)
        if column is not None and (mask := _fill_numbers(numbers[:, index], feature, column)) is not None:
            invalid[feature.name] = mask
    for index, feature in enumerate(schema.categorical):
        column = columns.get(feature.name)
        if column is not None and (mask := _fill_codes(codes[:, index], schema, index, column)) is not None:
            invalid[feature.name] = mask
    for feature in schema.features:
        if feature.name not in columns and not feature.nullable:
            invalid[feature.name] = None
    return Frame(numbers, codes), invalid


def _mark_limits(schema: FeatureSchema, numbers: Array, invalid: InvalidMasks) -> None:
    """Mark numbers that are infinite, outside the declared limits, or missing in a required column."""
    ranges = schema.ranges
    inside = (numbers >= ranges.low) & (numbers <= ranges.high)  # NaN is outside
    if inside.all():
        return
    outside = ~(inside | (np.isnan(numbers) & ranges.nullable))
    for index in np.flatnonzero(outside.any(axis=0)).tolist():
        name = schema.numeric[index].name
        known = invalid.get(name)
        invalid[name] = outside[:, index] if known is None else outside[:, index] | known


def _with_errors(
    schema: FeatureSchema,
    columns: Columns,
    validated: ValidatedRows,
    invalid: InvalidMasks,
    unknown: Sequence[str],
    first_row: int,
    max_errors: int,
) -> ValidatedRows:
    """The valid rows of the frame, and the errors of the first invalid rows."""
    count = validated.count
    masks = [mask for mask in invalid.values() if mask is not None]
    everywhere = len(invalid) - len(masks) + len(unknown)  # columns that are invalid in every row
    bad = np.ones(count, dtype=bool) if everywhere else np.logical_or.reduce(masks)
    total = sum(int(np.count_nonzero(mask)) for mask in masks) + everywhere * count
    hints = {name: did_you_mean(name, schema.by_name) for name in unknown[:MAX_LISTED_ERRORS]}
    errors: list[RowError] = []
    for row in np.flatnonzero(bad)[:max_errors].tolist():  # each has at least one error
        found = _errors_of_row(schema, columns, invalid, row, first_row)
        found += [unknown_field(first_row + row, name, hint) for name, hint in hints.items()]
        errors += found[:MAX_LISTED_ERRORS]
        if len(errors) >= max_errors:
            break
    del errors[max_errors:]
    valid = np.flatnonzero(~bad)
    return ValidatedRows(validated.frame.take(valid), count, valid.tolist(), errors, total - len(errors))


def _errors_of_row(
    schema: FeatureSchema, columns: Columns, invalid: InvalidMasks, row: int, first_row: int
) -> list[RowError]:
    return [
        feature_error(first_row + row, feature, *_problem(feature, columns.get(feature.name), row))
        for feature in schema.features
        if feature.name in invalid and ((mask := invalid[feature.name]) is None or mask[row])
    ]


def _problem(feature: Feature, column: Column | None, row: int) -> tuple[str, str]:
    """The problem of a value that a mask marks as invalid."""
    if column is None:
        return feature.absence_problem
    value = column.item(row)
    if feature.kind == "date" and column.values.dtype.kind == "M" and value is not None:
        seconds = epoch_seconds(column.values[row if column.codes is None else column.codes[row]])
        found = (
            feature.limit_problem(float(seconds), render(value))
            if has_year(seconds)
            else feature.date_format_problem(value)
        )
    else:
        found = feature.problem(value)
    assert found is not None, f"{feature.name!r}: {value!r} is marked as invalid, but no rule forbids it"
    return found


def _fill_numbers(out: Array, feature: Feature, column: Column) -> Mask | None:
    """Write a column's numbers into `out`, NaN if missing. Returns the mask of values of another type, or None if there
    are none."""
    values, missing, codes = column
    kind = values.dtype.kind
    if not len(values):
        return None
    if (feature.kind == "number" and kind in "fiu") or (feature.kind == "boolean" and kind == "b"):
        known, invalid = values, None
    elif feature.kind == "date" and kind == "M":
        known = epoch_seconds(values)
        invalid = ~(has_year(known) | np.isnan(known))
    else:
        distinct, codes, missing = _distinct_values(column)
        if not len(distinct):
            return None
        known = np.array([np.nan if number is None else number for number in map(feature.to_number, distinct)])
        invalid = np.isnan(known)
    out[:] = known if codes is None else known[codes]
    if invalid is not None:
        invalid = invalid if codes is None else invalid[codes]
        if missing is not None:
            invalid &= ~missing
        out[invalid] = np.nan
    if missing is not None:
        out[missing] = np.nan
    return invalid if invalid is not None and invalid.any() else None


def _fill_codes(out: Array, schema: FeatureSchema, index: int, column: Column) -> Mask | None:
    """Write the codes of a column's levels into `out`. Returns the mask of invalid levels, or None if all are valid."""
    feature, known = schema.categorical[index], schema.frames.codes[index]
    distinct, codes, missing = _distinct_values(column)
    if len(distinct):
        invalid_levels = [feature.problem(level) is not None for level in distinct]
        level_codes = [
            MISSING if invalid else known[level] for level, invalid in zip(distinct, invalid_levels, strict=True)
        ]
        out[:] = np.array(level_codes, dtype=np.int64)[codes]
        mask = np.array(invalid_levels, dtype=bool)[codes]
    else:
        mask = np.zeros(len(out), dtype=bool)
    if missing is not None:
        out[missing] = MISSING
        mask = (mask & ~missing) if feature.nullable else (mask | missing)
    return mask if mask.any() else None


class _DistinctValues(NamedTuple):
    values: list[Any]  # JSON values; None only where `missing` is true
    codes: npt.NDArray[np.integer[Any]]  # (n,); any valid code if the value is missing
    missing: Mask | None


def _distinct_values(column: Column) -> _DistinctValues:
    """The distinct values of a column, and their codes by row."""
    values, missing, codes = column
    if values.dtype.kind in "fiub" and codes is None:
        if values.dtype.kind == "f" and (nan := np.isnan(values)).any():
            missing = nan if missing is None else missing | nan
            values = np.where(nan, values.dtype.type(0), values)
        distinct, codes = np.unique(values, return_inverse=True)
        return _DistinctValues(distinct.tolist(), codes, missing)
    cells = [_json_value(value) for value in values] if values.dtype.kind in "fM" else values.tolist()
    if codes is None and set(map(type, cells)) == {str}:
        position = {text: index for index, text in enumerate(dict.fromkeys(cells))}
        codes = np.fromiter(map(position.__getitem__, cells), dtype=np.intp, count=len(cells))
        return _DistinctValues([*position], codes, missing)
    known: dict[Any, int] = {}
    listed: list[Any] = []
    positions = []
    for cell in cells:
        key = (type(cell), cell if isinstance(cell, str | bool | int | float | None) else id(cell))
        if cell == 0 and isinstance(cell, float):  # messages distinguish -0.0 from 0.0
            key = (float, repr(cell))
        if key not in known:
            known[key] = len(listed)
            listed.append(cell)
        positions.append(known[key])
    own = np.array(positions, dtype=np.intp)
    codes = own if codes is None else own[codes] if len(own) else codes
    absent = np.array([value is None for value in listed], dtype=bool)
    if absent.any():
        missing = absent[codes] if missing is None else missing | absent[codes]
    return _DistinctValues(listed, codes, missing)


def _json_value(value: Any) -> Any:
    """A NumPy float or date as a JSON value; None if it is NaN or NaT."""
    return Column(np.array([value])).item(0)
