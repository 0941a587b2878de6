"""Text cells of a table, read as values: the one home of what a number or a boolean looks like.

Training and serving both parse cells by these functions. Cells come without blanks around them.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from models.columns import Array, Column
from models.feature import Feature
from models.schema import FeatureSchema

Decimal = Literal[".", ","]
NUMBER = {
    ".": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    ",": re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?"),
}
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)  # a dotless i is none to float()
WHOLE = re.compile(r"[+-]?\d+")
MAX_DIGITS = 4000  # int() refuses longer texts
BOOLEANS = {"true": True, "false": False}


def parse_number(text: str, decimal: Decimal = ".") -> float | None:
    """A cell as a number, infinite where it says so or is too large; None where it is not a number."""
    if NUMBER[decimal].fullmatch(text) or INFINITE.fullmatch(text):
        return float(text.replace(decimal, "."))
    return None


def parse_whole(text: str) -> int | None:
    """A cell as a whole number with all of its digits; None where it is none, or longer than any that is used."""
    return int(text) if WHOLE.fullmatch(text) and len(text) < MAX_DIGITS else None


def parse_boolean(text: str) -> bool | None:
    """true or false in any case; None for anything else."""
    return BOOLEANS.get(text.casefold())


def read_cells(schema: FeatureSchema, feature: Feature, cells: Sequence[str]) -> Column:
    """The cells of a column as JSON values of its type, missing where the schema's tokens say so. A cell that cannot be
    read stays text, which no rule accepts."""
    cells = [*map(str.strip, cells)]
    if feature.kind == "number" and (numbers := _all_numbers(schema, cells)) is not None:
        return Column(numbers)
    tokens = schema.missing_tokens
    distinct = [*dict.fromkeys(cells)]
    position = {text: index for index, text in enumerate(distinct)}
    codes = np.fromiter(map(position.__getitem__, cells), dtype=np.intp, count=len(cells))
    missing = np.array([text in tokens for text in distinct], dtype=bool)
    values = np.empty(len(distinct), dtype=object)
    values[:] = [
        None if absent else read_cell(feature, text) for text, absent in zip(distinct, missing.tolist(), strict=True)
    ]
    return Column(values, missing[codes] if missing.any() else None, codes)


def read_cell(feature: Feature, text: str) -> Any:
    """One cell as a JSON value of the column's type; the text itself where it is of another."""
    kind = feature.level_type if feature.kind == "category" else feature.kind
    value: bool | float | None = None
    if kind == "number":
        value = parse_whole(text) if feature.kind == "category" else None
        value = parse_number(text) if value is None else value
    elif kind == "boolean":
        value = parse_boolean(text)
    return text if value is None else value


def _all_numbers(schema: FeatureSchema, cells: Sequence[str]) -> Array | None:
    """`parse_number` of all cells by float() alone, faster: NaN where missing, None where a cell is not a number.

    float() also reads `nan` and `1_000`, which are none here.
    """
    tokens = schema.missing_tokens
    try:
        if not schema.tokens_are_numbers:
            numbers = np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
            if not np.isnan(numbers).any() and "_" not in "".join(cells):
                return numbers
    except ValueError:
        pass
    missing = [text in tokens for text in cells]
    try:
        read = [math.nan if absent else float(text) for text, absent in zip(cells, missing, strict=True)]
    except ValueError:
        return None
    numbers = np.array(read, dtype=np.float64)
    named = np.count_nonzero(np.isnan(numbers)) == sum(missing)
    plain = named and not any("_" in text for text, absent in zip(cells, missing, strict=True) if not absent)
    return numbers if plain else None
