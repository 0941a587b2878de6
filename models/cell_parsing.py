"""Text cells of a table, parsed as values of their column. Only this module defines how text becomes a value.

Training uses the same `CellFormat`. CSV contains text only. In JSON, Arrow and tensors a value may be text if the
training table had text in this column.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.columns import Array, Column, Mask
from models.feature import Feature
from models.frame import Row
from models.visible_text import visible_text

WHOLE = re.compile(r"[+-]?\d+")
MAX_DIGITS = 4000  # int() refuses longer texts


def parse_whole(text: str) -> int | None:
    """Parse a cell as a whole number with all of its digits; None if it is not a whole number or is too long."""
    return int(text) if WHOLE.fullmatch(text) and len(text) < MAX_DIGITS else None


class CellReader:
    """Reads the text cells of one column.

    reads_plain_numbers: whether cells are numbers as `float` reads them. reads_values: whether text in formats other
    than CSV is parsed, too. missing_values: the texts that mean missing in those formats.
    """

    def __init__(self, feature: Feature, tokens: frozenset[str], *, everywhere: bool) -> None:
        """tokens: the texts that mean missing in every column. everywhere: whether they mean missing in formats other
        than CSV, too."""
        self._feature = feature
        self._cells = feature.cells
        self._missing = tokens | frozenset(feature.cells.missing)
        self._kind = feature.level_type if feature.kind == "category" else feature.kind
        self.missing_values = self._missing if everywhere and feature.nullable else frozenset()
        self._reads_text = self._kind in ("number", "boolean") and feature.cells.reads_text
        self.reads_values = bool(self._reads_text or self.missing_values)
        self._by_level = (
            feature.kind == "category" and self._kind == "text" and feature.unseen != "error"
        )  # `LevelCodes` handles the missing values
        self._tokens_are_numbers = any(map(_is_number, self._missing))
        self.reads_plain_numbers = self._kind == "number" and feature.cells.plain and not self._tokens_are_numbers

    def read_cell(self, text: str) -> Any:
        """Parse a CSV cell without surrounding blanks as a JSON value of the column's type; None if it is missing.
        Returns the text itself if it has another type; validation then rejects it.
        """
        if self._cells.visible:
            text = visible_text(text)
        if text in self._missing:
            return None
        value: bool | float | None = None
        if self._kind == "number":
            value = parse_whole(text) if self._feature.kind == "category" else None
            value = self._cells.parse_number(text) if value is None else value
        elif self._kind == "boolean":
            value = self._cells.parse_boolean(text)
        return text if value is None else value

    def read_value(self, text: str) -> Any:
        """Parse a text from JSON, an Arrow array or a tensor. Returns the text itself if only a CSV may have text in
        this column."""
        cell = text.strip() if self._reads_text or self._cells.trimmed else text
        cell = visible_text(cell) if self._cells.visible else cell
        if cell in self.missing_values:
            return None
        return self.read_cell(cell) if self._reads_text and cell not in self._missing else text

    def read_cells(self, cells: Sequence[str]) -> Column:
        """The cells of a CSV column as JSON values of the column's type."""
        cells = [*map(str.strip, cells)]
        if self._feature.kind == "number" and self._cells.plain and (numbers := self._all_numbers(cells)) is not None:
            return Column(numbers)
        distinct = [*dict.fromkeys(cells)]
        position = {text: index for index, text in enumerate(distinct)}
        codes = np.fromiter(map(position.__getitem__, cells), dtype=np.intp, count=len(cells))
        return _with_missing([*map(self.read_cell, distinct)], codes, None)

    def read_column(self, column: Column) -> Column:
        """A column in a format other than CSV, with its texts parsed."""
        values, missing, codes = column
        if self._by_level or not self.reads_values or values.dtype.kind != "O":
            return column
        read = [self.read_value(value) if isinstance(value, str) else value for value in values.tolist()]
        return _with_missing(read, codes, missing)

    def _all_numbers(self, cells: Sequence[str]) -> Array | None:
        """A faster `read_cell` for plain numbers, by float() alone: NaN for missing cells; None if any cell is not a
        number.

        float() also accepts `nan` and `1_000`, which are not numbers here.
        """
        tokens = self._missing
        try:
            if not self._tokens_are_numbers:
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


def read_rows(readers: Mapping[str, CellReader], rows: Sequence[object]) -> Sequence[object]:
    """Rows of JSON values, with the texts parsed in columns that have a reader; the same rows if there is no reader."""
    return [read_row(readers, row) if isinstance(row, dict) else row for row in rows] if readers else rows


def read_row(readers: Mapping[str, CellReader], row: Row) -> Row:
    """A row of JSON values with parsed texts. Returns the same object if nothing was parsed."""
    read: dict[str, Any] | None = None
    for name, reader in readers.items():
        text = row.get(name)
        if isinstance(text, str) and (value := reader.read_value(text)) is not text:
            read = dict(row) if read is None else read
            read[name] = value
    return row if read is None else read


def _with_missing(read: list[Any], codes: Any, missing: Mask | None) -> Column:
    """A column of these values, where None means missing."""
    values = np.empty(len(read), dtype=object)
    values[:] = read
    absent = np.array([value is None for value in read], dtype=bool)
    if absent.any():
        absent = absent if codes is None else absent[codes]
        missing = absent if missing is None else missing | absent
    return Column(values, missing, codes)


def _is_number(text: str) -> bool:
    """Whether float() parses the text as a number or an infinity, not as NaN."""
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False
