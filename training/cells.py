"""One column of a table, factorised: its distinct values with their counts, and a code for each row.

All later steps work on the distinct values, so a million rows cost little more than reading them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as arrow

from models.cell_format import PLAIN, CellFormat
from models.normal_form import normal_form
from models.text import render
from models.visible_text import visible_text
from training.raw_table import RawTable
from training.streaming.part_columns import PartColumns

CellType = Literal["untyped", "text", "number", "boolean", "timestamp", "other"]
Mask = npt.NDArray[np.bool_]
TEXT_ROWS = 65_536  # number of timestamps that are converted to Python objects at once


@dataclass(frozen=True)
class FactorizedColumn:
    """One column of a table: the value of row i is `values[codes[i]]`, or missing if the code is -1.

    values: the distinct values that are not missing; text if the table is untyped (CSV), else of a JSON type
    (timestamps as ISO 8601 text). counts: the number of cells of each value. tokens: the number of cells of each text
    that counts as missing. trimmed: whether blanks around the cells were removed. visible: whether
    invisible characters in the cells were removed. cells: the format of the text.
    """

    name: str
    codes: npt.NDArray[np.int32]  # (rows,)
    values: list[Any]
    counts: npt.NDArray[np.int64]
    cell_type: CellType
    categorical: bool = False  # whether the table declares the column categorical
    arrow_type: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    trimmed: bool = False
    visible: bool = False
    cells: CellFormat = PLAIN

    @property
    def present(self) -> int:
        return int(self.counts.sum())

    @property
    def missing(self) -> int:
        return len(self.codes) - self.present

    def fraction(self, mask: Mask) -> float:
        """The fraction of the cells with a value whose value is in the mask."""
        return float(self.counts[mask].sum() / max(self.present, 1))

    def broadcast(self, values: Sequence[Any] | npt.NDArray[Any], missing: Any, dtype: Any) -> npt.NDArray[Any]:
        """(rows,): the value of each cell. values: one for each distinct value."""
        table = np.empty(len(values) + 1, dtype=dtype)
        table[:-1] = values
        table[-1] = missing  # code -1
        return table[self.codes]

    def examples(self, mask: Mask, limit: int = 3) -> str:
        """The most frequent values in the mask, for a message."""
        where = np.flatnonzero(mask)
        where = where[np.argsort(-self.counts[where], kind="stable")][:limit]
        return ", ".join(render(self.values[index]) for index in where)

    def without(self, mask: Mask) -> "FactorizedColumn":
        """Return the column with the values in the mask counted as missing."""
        codes, values = _drop_values(self.codes, self.values, mask)
        return replace(self, codes=codes, values=values, counts=self.counts[~mask])

    def with_cells(self, cells: CellFormat) -> "FactorizedColumn":
        """The same cells with another format."""
        return replace(self, cells=cells)


def may_contain_text(table: RawTable, name: str) -> bool:
    """Whether cells of a column may be text, so that a format must be decided. Does not read a large column."""
    if not isinstance(table.columns, PartColumns):
        return True
    kind, is_a = table.columns.type_of(table.names.index(name)), pa.types
    plain = is_a.is_integer(kind) or is_a.is_floating(kind) or is_a.is_boolean(kind) or is_a.is_temporal(kind)
    return not plain


def factorize(table: RawTable, name: str, missing: Sequence[str]) -> FactorizedColumn:
    """Factorise one column. Blanks around the cells of a CSV are removed. missing: the texts of missing cells."""
    column = table.columns[table.names.index(name)]
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    arrow_type = str(column.type)
    categorical = pa.types.is_dictionary(column.type) or name in table.categorical
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    cell_type, column, trimmed = _to_json_type(column, typed=table.typed)
    if cell_type == "other":
        codes, counts = np.full(table.rows, -1, np.int32), np.zeros(0, np.int64)
        return FactorizedColumn(name, codes, [], counts, "other", arrow_type=arrow_type)
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    values = _iso_texts(encoded.dictionary) if cell_type == "timestamp" else encoded.dictionary.to_pylist()
    visible = False
    if cell_type in ("untyped", "text"):
        codes, values, visible = _normalized(codes, values)
    mask = _is_missing(values, cell_type, frozenset(missing))
    tokens: dict[str, int] = {}
    if mask.any():
        if cell_type in ("untyped", "text"):
            tokens = {values[index]: int((codes == index).sum()) for index in np.flatnonzero(mask).tolist()}
        codes, values = _drop_values(codes, values, mask)
    counts = np.bincount(codes[codes >= 0], minlength=len(values)).astype(np.int64)
    codes = codes.astype(np.int32)
    return FactorizedColumn(name, codes, values, counts, cell_type, categorical, arrow_type, tokens, trimmed, visible)


def _normalized(codes: npt.NDArray[Any], values: list[str]) -> tuple[npt.NDArray[Any], list[str], bool]:
    """Convert texts to Unicode's normal form C, in which an accented letter is one character, and remove invisible
    characters. Returns codes, texts, and whether there were invisible characters.
    """
    normal = [normal_form("NFC", text) for text in values]
    visible = [*map(visible_text, normal)]
    if visible == values:
        return codes, values, False
    has_invisible, normal = visible != normal, visible
    position = {text: index for index, text in enumerate(dict.fromkeys(normal))}
    renumbered = np.array([*(position[text] for text in normal), -1], dtype=np.int32)  # the last entry is for code -1
    return renumbered[codes], [*position], has_invisible


def _drop_values(codes: npt.NDArray[Any], values: list[Any], mask: Mask) -> tuple[npt.NDArray[np.int32], list[Any]]:
    """Remove the values in the mask; their rows get the code -1."""
    renumbered = np.append(np.where(mask, -1, np.cumsum(~mask) - 1), -1)  # the last entry is for code -1
    kept = [value for value, dropped in zip(values, mask.tolist(), strict=True) if not dropped]
    return renumbered[codes].astype(np.int32), kept


def _to_json_type(column: Any, *, typed: bool) -> tuple[CellType, Any, bool]:
    """Return a column's cell type, the column cast to a type that JSON has, and whether blanks were removed."""
    kind, is_a = column.type, pa.types
    if not typed and (is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind)):
        column = column.cast(pa.large_string())
        trimmed = arrow.utf8_trim_whitespace(column)
        return "untyped", trimmed, trimmed != column
    return *_typed_column(column), False


def _typed_column(column: Any) -> tuple[CellType, Any]:
    """Return the cell type of a column in a typed table, and the column cast to a type that JSON has."""
    kind, is_a = column.type, pa.types
    if is_a.is_null(kind):
        return "text", column.cast(pa.string())
    if is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind):
        return "text", column.cast(pa.large_string())
    if is_a.is_boolean(kind):
        return "boolean", column
    if is_a.is_integer(kind):
        return "number", column
    if is_a.is_floating(kind) or is_a.is_decimal(kind):
        return "number", column.cast(pa.float64())
    if is_a.is_timestamp(kind):
        return "timestamp", column.cast(pa.timestamp("us", kind.tz), safe=False)
    if is_a.is_date(kind):
        return "timestamp", column
    return "other", column


def _iso_texts(moments: Any) -> list[str]:
    """ISO 8601 texts of an Arrow array, without the time if no value has a time. Converts TEXT_ROWS values at a
    time."""
    parts = [moments.slice(start, TEXT_ROWS) for start in range(0, len(moments), TEXT_ROWS)]
    dates_only = all(_is_date(moment) for part in parts for moment in part.to_pylist())
    return [
        (moment.date() if dates_only and isinstance(moment, datetime) else moment).isoformat()
        for part in parts
        for moment in part.to_pylist()
    ]


def _is_date(moment: date) -> bool:
    return not isinstance(moment, datetime) or (moment.time() == time() and moment.tzinfo is None)


def _is_missing(values: list[Any], cell_type: CellType, tokens: frozenset[str]) -> Mask:
    if cell_type in ("untyped", "text"):
        return np.array([value in tokens for value in values], dtype=bool)
    if cell_type == "number":
        return np.array([math.isnan(value) for value in values], dtype=bool)
    return np.zeros(len(values), dtype=bool)
