"""Reads columns of numbers, booleans and dates: their values as numbers, and their statistics for the schema."""

from typing import NamedTuple

import numpy as np

from models.cell_format import CellFormat
from models.feature import Scalar, TrainingRange, integer_if_exact
from models.text import counted, render
from training.cell_values import Vector, invalid_cell_notices, parse_booleans, parse_numbers
from training.cells import FactorizedColumn, Mask
from training.date_formats import closest_date_format, detect_date_format, parse_dates
from training.errors import UsageError

MAX_TOKENS, MAX_TOKEN = 100, 200  # maximum number and length of the invalid cells that the schema lists as missing


class NumericColumn(NamedTuple):
    """The values of a column as numbers, and their statistics, format and notices."""

    numbers: Vector  # (distinct,), NaN if a value is not of the column's type
    seen: TrainingRange
    value_range: str
    example: Scalar
    notices: list[str]
    cells: CellFormat
    date_format: str | None = None


def read_number_column(column: FactorizedColumn) -> NumericColumn:
    """Read a column of numbers. Infinities become NaN, with a notice. Raises UsageError if no cell is a number."""
    numbers = parse_numbers(column)
    infinite, invalid = np.isinf(numbers), np.isnan(numbers)
    notices = invalid_cell_notices(column, invalid, "a number")
    if infinite.any():
        count = int(column.counts[infinite].sum())
        infinite_cells = counted(count, "cell is infinite and counts", "cells are infinite and count")
        notices.append(f"column {column.name!r}: {infinite_cells} as missing")
    numbers = np.where(infinite, np.nan, numbers)
    median = _median_position(column, numbers, "a number")
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    seen = TrainingRange(min=integer_if_exact(low), max=integer_if_exact(high))
    cells = _with_missing(column, invalid | infinite)
    return NumericColumn(
        numbers, seen, f"{low:g} to {high:g}", integer_if_exact(float(numbers[median])), notices, cells
    )


def read_boolean_column(column: FactorizedColumn) -> NumericColumn:
    """Read a column of booleans: true becomes 1, false 0. Raises UsageError if no cell is a boolean."""
    booleans = parse_booleans(column)
    median = _median_position(column, booleans, "true or false")
    notices = invalid_cell_notices(column, np.isnan(booleans), "true or false")
    cells = _with_missing(column, np.isnan(booleans))
    return NumericColumn(booleans, TrainingRange(), "", bool(booleans[median]), notices, cells)


def read_date_column(column: FactorizedColumn, declared_format: str | None, wanted: str | None) -> NumericColumn:
    """Read dates as seconds since 1970. wanted: value of `--date-format`. Raises UsageError if no cell is a date."""
    date_format, notices = (declared_format, []) if declared_format else _infer_date_format(column, wanted)
    texts = [str(value) for value in column.values]
    seconds = parse_dates(texts, date_format)
    median = _median_position(column, seconds, f"a date ({date_format})")
    low, high = texts[int(np.nanargmin(seconds))], texts[int(np.nanargmax(seconds))]
    notices = notices + invalid_cell_notices(column, np.isnan(seconds), f"a date ({date_format})")
    cells = _with_missing(column, np.isnan(seconds))
    seen = TrainingRange(min=low, max=high)
    return NumericColumn(seconds, seen, f"{low} to {high}", texts[median], notices, cells, date_format)


def _with_missing(column: FactorizedColumn, invalid: Mask) -> CellFormat:
    """The format of the column's cells, with the invalid texts as missing values, also in requests."""
    texts = [value for value, wrong in zip(column.values, invalid.tolist(), strict=True) if wrong]
    known = column.cells.missing
    listed = [text for text in texts if isinstance(text, str) and len(text) <= MAX_TOKEN][: MAX_TOKENS - len(known)]
    return column.cells.model_copy(update={"missing": [*known, *listed]}) if listed else column.cells


def _infer_date_format(column: FactorizedColumn, wanted: str | None) -> tuple[str, list[str]]:
    found = detect_date_format(column, wanted)
    if found is None:
        return wanted or closest_date_format(column), []
    if found.rival is None:
        return found.text, []
    return found.text, [
        f"column {column.name!r}: its dates fit {found.text} and {found.rival}, e.g. {render(column.values[0])}; "
        "the first is used (--date-format)"
    ]


def _median_position(column: FactorizedColumn, numbers: Vector, expected: str) -> int:
    """The position of the cells' median among the distinct values. Raises UsageError if all are NaN."""
    count = int(np.count_nonzero(~np.isnan(numbers)))
    if not count:
        raise UsageError(f"column {column.name!r}: no cell is {expected}, e.g. {render(column.values[0])}")
    order = np.argsort(numbers, kind="stable")[:count]  # NaN are last
    reached = column.counts[order]
    np.cumsum(reached, out=reached)
    return int(order[np.searchsorted(reached, reached[-1] / 2)])
