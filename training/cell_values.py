"""Parses the distinct values of a column as numbers, booleans or levels; for text, in the column's `CellFormat`."""

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from models.cell_format import CellFormat
from models.cell_parsing import parse_whole
from models.feature import LevelType, Scalar
from models.text import counted
from training.cells import FactorizedColumn, Mask

MAX_INVALID_FRACTION = 0.01  # maximum fraction of a column's cells whose type differs from the rest
LEADING_ZERO = re.compile(r"[+-]?0\d+")

Vector = npt.NDArray[np.float64]


def parse_numbers(column: FactorizedColumn) -> Vector:
    """(distinct,): the values as numbers, infinities included, NaN if a value is not a number."""
    if column.cell_type == "number":
        return np.array(column.values, dtype=np.float64)
    if column.cell_type not in ("untyped", "text"):
        return np.full(len(column.values), np.nan)
    if (plain := _plain_numbers(column)) is not None:
        return plain
    numbers = map(column.cells.parse_number, column.values)
    return np.array([math.nan if number is None else number for number in numbers], dtype=np.float64)


def _plain_numbers(column: FactorizedColumn) -> Vector | None:
    """Parse the numbers with float() alone, which is faster. Returns None if a text is not a plain number, such as
    `nan` or `1_000`."""
    if not column.cells.plain or "_" in "".join(column.values):
        return None
    try:
        numbers = np.fromiter(map(float, column.values), dtype=np.float64, count=len(column.values))
    except ValueError:
        return None
    return None if np.isnan(numbers).any() else numbers


def parse_booleans(column: FactorizedColumn) -> Vector:
    """(distinct,): 1 for true, 0 for false, NaN for anything else."""
    if column.cell_type == "boolean":
        return np.array(column.values, dtype=np.float64)
    if column.cell_type != "untyped":
        return np.full(len(column.values), np.nan)
    booleans = map(column.cells.parse_boolean, column.values)
    return np.array([math.nan if boolean is None else boolean for boolean in booleans], dtype=np.float64)


def parse_levels(column: FactorizedColumn, level_type: LevelType | None = None) -> tuple[list[Scalar], LevelType]:
    """(distinct,): the values as levels of one JSON type, and that type.

    Without `level_type`, text values become numbers only if all are numbers and none has leading zeros. Whole floats
    become integers.
    """
    values = column.values
    if level_type is None:
        level_type = _level_type(column)
    if level_type == "boolean":
        parse = column.cells.parse_boolean
        return [value if isinstance(value, bool) else parse(value) is True for value in values], level_type
    if level_type == "number":
        return [numeric_level(value, column.cells) for value in values], level_type
    return [
        value if isinstance(value, str) else str(numeric_level(value, column.cells)) for value in values
    ], level_type


def _level_type(column: FactorizedColumn) -> LevelType:
    if column.cell_type in ("number", "boolean"):
        return column.cell_type
    if column.cell_type != "untyped":
        return "text"
    if not np.isnan(parse_booleans(column)).any():
        return "boolean"
    return "text" if has_leading_zeros(column).any() or not np.isfinite(parse_numbers(column)).all() else "number"


def numeric_level(value: Any, cells: CellFormat) -> Scalar:
    """Convert a number, or the text of a number, to a level: an integer if it is whole."""
    if isinstance(value, str):
        whole = parse_whole(value)
        value = cells.parse_number(value) if whole is None else whole
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value  # type: ignore[no-any-return]  # a bool, int or float of the table


def has_leading_zeros(column: FactorizedColumn) -> Mask:
    """(distinct,): which texts are numbers with leading zeros, such as postal codes."""
    return np.array([bool(LEADING_ZERO.fullmatch(value)) for value in column.values], dtype=bool)


def is_numeric_column(column: FactorizedColumn, numbers: Vector) -> bool:
    """Whether nearly all cells are numbers without leading zeros. numbers: as `parse_numbers` returns them."""
    if column.cell_type == "number":
        return True
    if column.cell_type != "untyped" and not column.cells.reads_text:
        return False
    return (
        column.fraction(~np.isnan(numbers)) >= 1 - MAX_INVALID_FRACTION
        and column.fraction(has_leading_zeros(column)) <= MAX_INVALID_FRACTION
    )


def swap_decimal(column: FactorizedColumn) -> FactorizedColumn:
    """Return the same cells, read with the other decimal mark."""
    return column.with_cells(CellFormat(decimal="," if column.cells.decimal == "." else "."))


def invalid_cell_notices(column: FactorizedColumn, invalid: Mask, expected: str) -> list[str]:
    """A notice that the values in the mask count as missing, if there are any."""
    count = int(column.counts[invalid].sum())
    if not count:
        return []
    examples = column.examples(invalid)
    cells = counted(count, f"cell is not {expected} and counts", f"cells are not {expected} and count")
    return [f"column {column.name!r}: {cells} as missing, e.g. {examples}"]
