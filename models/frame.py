"""Valid rows as two matrices, which the encoder reads, and the conversion of rows and columns to these matrices."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import getitem, itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.feature import Feature, LevelCodes

FEW_ROWS = 16  # up to this number of rows, NumPy's fixed costs dominate
FOLDED_COLUMNS = 64  # for fewer columns, NumPy's cost for each row dominates
Row = Mapping[str, Any]
FloatMatrix = npt.NDArray[np.float64]
CodeMatrix = npt.NDArray[np.int64]
FloatVector = npt.NDArray[np.float64]
CodeVector = npt.NDArray[np.int64]


class FrameColumns(Protocol):
    """The columns of a frame one by one, for parts that are fitted column by column."""

    @property
    def rows(self) -> int: ...
    def number_columns(self) -> Iterator[FloatVector]: ...
    def code_columns(self) -> Iterator[CodeVector]: ...


class Frame(NamedTuple):
    """Valid rows as two matrices, columns in the order of the schema.

    numbers: (rows, numbers + booleans + dates + texts) float64, NaN if missing. Dates are seconds since 1970, texts
    their scores.
    codes: (rows, categories) int64, the position or bucket of a level, `UNSEEN` or `MISSING`.
    """

    numbers: FloatMatrix
    codes: CodeMatrix

    @classmethod
    def from_numbers(cls, numbers: FloatMatrix) -> "Frame":
        """A frame without categories."""
        return cls(numbers, np.empty((len(numbers), 0), dtype=np.int64))

    @property
    def rows(self) -> int:
        return len(self.numbers)

    def take(self, rows: npt.NDArray[np.intp] | slice) -> "Frame":
        return Frame(self.numbers[rows], self.codes[rows])

    def number_columns(self) -> Iterator[FloatVector]:
        return iter(self.numbers.T)

    def code_columns(self) -> Iterator[CodeVector]:
        return iter(self.codes.T)

    def load(self) -> "Frame":
        """The frame itself, because its rows are already in memory."""
        return self


class FrameBuilder:
    """Makes frames from valid rows or columns, with getters that are created once per schema."""

    def __init__(
        self,
        numeric: Sequence[Feature],
        categorical: Sequence[Feature],
        missing: Mapping[str, Iterable[str]] = MappingProxyType({}),
    ) -> None:
        """missing: for the name of each category or text, the values that mean missing."""
        self._numeric, self._categorical = numeric, categorical
        self._pick_numbers = numbers_getter(numeric, missing)
        self._pick_levels = value_getter(categorical)
        self.codes = [LevelCodes(feature, missing.get(feature.name, ())) for feature in categorical]
        """A function from a level to its code, for each categorical feature."""

    def from_rows(self, rows: Sequence[Row]) -> Frame:
        """Make a frame from JSON objects that are known to be valid. Absent values and None are missing."""
        numbers = np.array([*map(self._pick_numbers, rows)], dtype=np.float64)  # None becomes NaN
        if numbers.ndim != 2:  # no rows
            numbers = numbers.reshape(len(rows), len(self._numeric))
        if not self._categorical:
            return Frame.from_numbers(numbers)
        known = self.codes
        codes = [[*map(getitem, known, levels)] for levels in map(self._pick_levels, rows)]
        return Frame(numbers, np.array(codes, dtype=np.int64).reshape(len(rows), len(known)))

    def from_columns(self, columns: Mapping[str, npt.NDArray[Any]]) -> Frame:
        """Make a frame from whole columns that are known to be valid.

        columns: for each feature an array of n values. Numbers, booleans (0/1), dates (seconds since 1970) and
        scores of texts: float64, NaN if missing. Categories and texts without scores: object, None if missing.
        """
        rows = len(next(iter(columns.values())))
        numbers = np.empty((rows, len(self._numeric)))
        for index, feature in enumerate(self._numeric):
            values = columns[feature.name]
            numbers[:, index] = feature.score_texts(values) if contains_texts(feature, values) else values
        codes = np.empty((rows, len(self._categorical)), dtype=np.int64)
        for index, feature in enumerate(self._categorical):
            known = self.codes[index]
            codes[:, index] = [known[level] for level in columns[feature.name]]
        return Frame(numbers, codes)


def value_getter(features: Sequence[Feature]) -> Callable[[Row], Sequence[Any]]:
    """A getter that returns several values of a row at once, None for absent values. For columns without missing
    values, it runs at C speed."""
    names = [feature.name for feature in features]
    if len(names) > 1 and not any(feature.nullable for feature in features):
        return itemgetter(*names)  # with a single name it would not return a sequence
    return lambda row: [*map(row.get, names)]


def numbers_getter(numeric: Sequence[Feature], missing: Mapping[str, Iterable[str]]) -> Callable[[Row], Sequence[Any]]:
    """A getter that returns a row of `Frame.numbers`: numbers, booleans, dates as seconds since 1970 and texts as
    scores."""
    if not any(feature.kind in ("date", "text") for feature in numeric):
        return value_getter(numeric)
    parsers = [(feature.name, _parser(feature, missing.get(feature.name, ()))) for feature in numeric]

    def parsed(row: Row) -> list[Any]:
        get = row.get
        return [parse(value) if parse and (value := get(name)) is not None else get(name) for name, parse in parsers]

    return parsed


def contains_texts(feature: Feature, values: npt.NDArray[Any]) -> bool:
    """Whether a column contains texts rather than their scores."""
    return feature.kind == "text" and values.dtype == object


def _parser(feature: Feature, missing: Iterable[str]) -> Callable[[Any], float] | None:
    """A function that converts a date or a text to a number; None for other columns. missing: the texts that mean
    missing."""
    if feature.kind != "text":
        return feature.parse_date if feature.kind == "date" else None
    tokens, trimmed, score = frozenset(missing), feature.cells.trimmed, feature.score_text

    def parse(text: str) -> float:
        return math.nan if (text.strip() if trimmed else text) in tokens else score(text)

    return parse


def column_extremes(matrix: FloatMatrix) -> tuple[FloatVector, FloatVector]:
    """The lowest and the highest number of each column of a matrix; NaN for a column that contains NaN."""
    rows, columns = matrix.shape
    fold = FOLDED_COLUMNS // columns if columns else 0  # this number of rows is treated as one row
    if fold < 2 or rows < 2 * fold or not matrix.flags.c_contiguous:
        return matrix.min(axis=0), matrix.max(axis=0)
    whole = rows - rows % fold
    folded = matrix[:whole].reshape(-1, fold * columns)
    lowest, highest = folded.min(axis=0).reshape(fold, columns), folded.max(axis=0).reshape(fold, columns)
    rest = matrix[whole:]
    return np.concatenate([lowest, rest]).min(axis=0), np.concatenate([highest, rest]).max(axis=0)


def any_true(mask: npt.NDArray[np.bool_]) -> bool:
    """The result of mask.any(), in half the time for a small mask."""
    return b"\1" in mask.tobytes()
