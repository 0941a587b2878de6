"""Text cells of a table, read as values of a column's type."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from models.columns import Array, Column
from models.feature import Feature
from models.schema import FeatureSchema

NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI][nN][fF]([iI][nN][iI][tT][yY])?)")
WHOLE = re.compile(r"[+-]?\d+")
WORDS = {"true": True, "false": False}


def read_cells(schema: FeatureSchema, feature: Feature, cells: Sequence[str]) -> Column:
    """Cells as training reads them: without blanks around them, missing where the schema's list says so, numbers, true
    and false where the column holds such. What cannot be read stays text, and no rule accepts it."""
    cells = [*map(str.strip, cells)]
    if feature.kind == "number" and (numbers := _all_numbers(schema, cells)) is not None:
        return Column(numbers)
    tokens = schema.missing_tokens
    distinct = [*dict.fromkeys(cells)]
    position = {text: place for place, text in enumerate(distinct)}
    codes = np.fromiter(map(position.__getitem__, cells), dtype=np.intp, count=len(cells))
    gone = np.array([text in tokens for text in distinct], dtype=bool)
    values = np.empty(len(distinct), dtype=object)
    values[:] = [None if text in tokens else _value(feature, text) for text in distinct]
    return Column(values, gone[codes] if gone.any() else None, codes)


def _all_numbers(schema: FeatureSchema, cells: Sequence[str]) -> Array | None:
    """The cells as numbers, NaN where they count as missing; None where they hold anything else."""
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
        read = [math.nan if gone else float(text) for text, gone in zip(cells, missing, strict=True)]
    except ValueError:
        return None
    numbers = np.array(read, dtype=np.float64)
    named = np.count_nonzero(np.isnan(numbers)) == sum(missing)  # float() also reads nan, and 1_000
    plain = named and not any("_" in text for text, gone in zip(cells, missing, strict=True) if not gone)
    return numbers if plain else None


def _value(feature: Feature, text: str) -> Any:
    """One cell as a JSON value of the column's kind; the text itself where it is of another."""
    kind = feature.level_type if feature.kind == "category" else feature.kind
    if kind == "number" and NUMBER.fullmatch(text):
        whole = feature.kind == "category" and WHOLE.fullmatch(text) and len(text) < 4000
        return int(text) if whole else float(text)
    return WORDS.get(text.casefold(), text) if kind == "boolean" else text
