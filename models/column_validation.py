"""Whole columns checked by the rules of the schema: what a row check would say of each row, at NumPy's speed.

A mask says where something is wrong; in what words is left to the rules themselves (`Feature.problem`), which are asked
only for the rows that are told in full.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.columns import Array, Column, ColumnRows, Columns, Mask, epoch_seconds, has_year
from models.feature import MISSING, Feature, as_float
from models.frame import Frame
from models.rows import MAX_LISTED_ERRORS, RowError, RowWarning
from models.schema import FeatureSchema
from models.text import render


@dataclass
class CheckedColumns:
    """The verdict on the rows of columns: the good ones as a frame, where they stood, and what is to say of all."""

    frame: Frame
    count: int
    valid: list[int] | None = None  # None: every row is valid
    errors: list[RowError] = field(default_factory=list)
    omitted: int = 0
    warnings: dict[int, list[RowWarning]] = field(default_factory=dict)  # by the row's place in `frame`

    @property
    def invalid_rows(self) -> int:
        return self.count - len(self.frame.numbers)


def check_columns(
    schema: FeatureSchema, columns: Columns, count: int, *, first_row: int = 0, most: int = MAX_LISTED_ERRORS
) -> CheckedColumns:
    """Check `count` rows by the rules of the schema, as `FeatureSchema.check` checks them one by one.

    first_row: the number that errors call the first one. most: how many errors are told in full.
    """
    whole = {name: values for name, (values, missing, codes) in columns.items() if missing is None and codes is None}
    if len(whole) == len(columns) and (usual := usual_numbers(schema, whole, count)) is not None:
        return CheckedColumns(usual, count)
    numbers = np.full((count, len(schema.numeric)), np.nan, order="F")
    codes = np.full((count, len(schema.categorical)), MISSING, dtype=np.int64)
    wrong: dict[str, Mask | None] = {}  # None: in every row
    for place, feature in enumerate(schema.numeric):
        if (column := columns.get(feature.name)) is not None:
            strange = _fill_numbers(numbers[:, place], feature, column)
            if strange is not None:
                wrong[feature.name] = strange
    for place, feature in enumerate(schema.categorical):
        if (column := columns.get(feature.name)) is not None:
            strange = _fill_codes(codes[:, place], schema, place, column)
            if strange is not None:
                wrong[feature.name] = strange
    for feature in schema.features:
        if feature.name not in columns and not feature.nullable:
            wrong[feature.name] = None
    unknown = [name for name in columns if name not in schema.by_name and name not in schema.accepted]
    checked = CheckedColumns(Frame(numbers, codes), count)
    if not wrong and not unknown and schema.usual(checked.frame):
        return checked
    _check_limits(schema, numbers, wrong)
    if count and (wrong or unknown):
        _tell(checked, schema, columns, wrong, unknown, first_row, most)
    checked.warnings = schema.warnings(checked.frame, ColumnRows(columns, count, checked.valid))
    return checked


def usual_numbers(schema: FeatureSchema, arrays: Mapping[str, Array], count: int) -> Frame | None:
    """The frame of `count` rows of numbers, all columns of the schema and no others, where nothing is to be said of any
    row; None for all else, which has to be looked at more closely."""
    if not schema.only_numbers or not count or not arrays or len(arrays) != len(schema.numeric):
        return None
    parts = []
    for name in schema.by_name:
        array = arrays.get(name)
        if array is None or len(array) != count or array.dtype.kind not in "fiu":
            return None
        parts.append(array)
    numbers = np.concatenate(parts, dtype=np.float64).reshape(len(parts), count).T
    frame = Frame(numbers, np.empty((count, 0), dtype=np.int64))
    return frame if schema.usual(frame) else None


def _check_limits(schema: FeatureSchema, numbers: Array, wrong: dict[str, Mask | None]) -> None:
    """Note numbers that are missing where they may not, infinite, or outside of what a person declared."""
    low, high, nullable = schema.limits
    inside = (numbers >= low) & (numbers <= high)  # NaN is not
    if inside.all():
        return
    outside = ~(inside | (np.isnan(numbers) & nullable))
    for place in np.flatnonzero(outside.any(axis=0)).tolist():
        name = schema.numeric[place].name
        strange = wrong.get(name)
        wrong[name] = outside[:, place] if strange is None else outside[:, place] | strange


def _tell(
    checked: CheckedColumns,
    schema: FeatureSchema,
    columns: Columns,
    wrong: Mapping[str, Mask | None],
    unknown: Sequence[str],
    first_row: int,
    most: int,
) -> None:
    """Take the rows that are not valid out of the frame, and say what is wrong with the first."""
    count = checked.count
    masks = [mask for mask in wrong.values() if mask is not None]
    everywhere = len(wrong) - len(masks) + len(unknown)  # columns that are wrong in every row
    bad = np.ones(count, dtype=bool) if everywhere else np.logical_or.reduce(masks)
    total = sum(int(np.count_nonzero(mask)) for mask in masks) + everywhere * count
    hints = {name: schema.nearest_hint(name) for name in unknown[:MAX_LISTED_ERRORS]}
    for row in np.flatnonzero(bad)[:most].tolist():  # each of them has an error at least
        before = len(checked.errors)
        for feature in schema.features:
            if feature.name in wrong and ((mask := wrong[feature.name]) is None or mask[row]):
                column = columns.get(feature.name)
                checked.errors.append(schema.error(first_row + row, feature, *_problem(feature, column, row)))
        checked.errors += [schema.unknown_field(first_row + row, name, hint) for name, hint in hints.items()]
        del checked.errors[before + MAX_LISTED_ERRORS :]
        if len(checked.errors) >= most:
            break
    del checked.errors[most:]
    checked.omitted = total - len(checked.errors)
    valid = np.flatnonzero(~bad)
    checked.frame = checked.frame.take(valid)
    checked.valid = valid.tolist()


def _problem(feature: Feature, column: Column | None, row: int) -> tuple[str, str]:
    """What is wrong with a cell that a mask has marked, in the words of the rules."""
    if column is None:
        return feature.absent
    value = column.item(row)
    if feature.kind == "date" and column.values.dtype.kind == "M" and value is not None:
        seconds = epoch_seconds(column.values[row if column.codes is None else column.codes[row]])
        found = feature.limit_problem(float(seconds), render(value)) if has_year(seconds) else feature.bad_date(value)
    else:
        found = feature.problem(value)
    assert found is not None, f"{feature.name!r}: {value!r} was marked, and no rule speaks against it"
    return found


def _fill_numbers(out: Array, feature: Feature, column: Column) -> Mask | None:
    """Write a column's numbers (NaN where missing). Where it holds something else, or None where it does not."""
    values, missing, codes = column
    kind = values.dtype.kind
    if not len(values):
        return None
    if (feature.kind == "number" and kind in "fiu") or (feature.kind == "boolean" and kind == "b"):
        known, strange = values, None
    elif feature.kind == "date" and kind == "M":
        known = epoch_seconds(values)
        strange = ~(has_year(known) | np.isnan(known))
    else:
        distinct, codes, missing = _by_distinct(column)
        read = [_read(feature, value) for value in distinct]
        known = np.array([math.nan if number is None else number for number in read], dtype=np.float64)
        strange = np.array([number is None for number in read], dtype=bool)
        if not len(distinct):
            return None
    out[:] = known if codes is None else known[codes]
    if strange is not None:
        strange = strange if codes is None else strange[codes]
        if missing is not None:
            strange &= ~missing
        out[strange] = np.nan
    if missing is not None:
        out[missing] = np.nan
    return strange if strange is not None and strange.any() else None


def _read(feature: Feature, value: Any) -> float | None:
    """A JSON value as the number it stands for, infinite ones included, or None where it is of another kind."""
    if feature.kind == "boolean":
        return float(value) if isinstance(value, bool) else None
    if feature.kind == "number":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if not number or value != value else as_float(value)
    try:
        return feature.parse_date(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _fill_codes(out: Array, schema: FeatureSchema, place: int, column: Column) -> Mask | None:
    """Write the codes of a column's levels. Where one is not valid, or None where all are."""
    feature, known = schema.categorical[place], schema.codes[place]
    distinct, codes, missing = _by_distinct(column)
    if len(distinct):
        faulty = [feature.problem(level) is not None for level in distinct]
        level_codes = [MISSING if wrong else known[level] for level, wrong in zip(distinct, faulty, strict=True)]
        out[:] = np.array(level_codes, dtype=np.int64)[codes]
        strange = np.array(faulty, dtype=bool)[codes]
    else:
        strange = np.zeros(len(out), dtype=bool)
    if missing is not None:
        out[missing] = MISSING
        strange = (strange & ~missing) if feature.nullable else (strange | missing)
    return strange if strange.any() else None


class _Distinct(NamedTuple):
    values: list[Any]  # as JSON has them; None only where missing says so too
    codes: npt.NDArray[np.integer[Any]]  # (n,) any valid one where missing
    missing: Mask | None


def _by_distinct(column: Column) -> _Distinct:
    """A column by its distinct values."""
    values, missing, codes = column
    if values.dtype.kind in "fiub" and codes is None:
        if values.dtype.kind == "f" and (nan := np.isnan(values)).any():
            missing = nan if missing is None else missing | nan
            values = np.where(nan, values.dtype.type(0), values)
        distinct, codes = np.unique(values, return_inverse=True)
        return _Distinct(distinct.tolist(), codes, missing)
    cells = [_plain(value) for value in values] if values.dtype.kind in "fM" else values.tolist()
    if codes is None and set(map(type, cells)) == {str}:
        position = {text: place for place, text in enumerate(dict.fromkeys(cells))}
        codes = np.fromiter(map(position.__getitem__, cells), dtype=np.intp, count=len(cells))
        return _Distinct([*position], codes, missing)
    known: dict[Any, int] = {}
    listed: list[Any] = []
    places = []
    for cell in cells:
        key = (type(cell), cell if isinstance(cell, str | bool | int | float | None) else id(cell))
        if key not in known:
            known[key] = len(listed)
            listed.append(cell)
        places.append(known[key])
    own = np.array(places, dtype=np.intp)
    codes = own if codes is None else own[codes] if len(own) else codes
    gone = np.array([value is None for value in listed], dtype=bool)
    if gone.any():
        missing = gone[codes] if missing is None else missing | gone[codes]
    return _Distinct(listed, codes, missing)


def _plain(value: Any) -> Any:
    """A NumPy float or moment as JSON has it, None where it is NaN or NaT."""
    return Column(np.array([value])).item(0)
