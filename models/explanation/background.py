"""The background of explanations: the rows with which a prediction is compared, stored as `background.json`.

Each cell of a background row comes from a different training row, so no background row is a real row.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
from pydantic import Field

from models.feature import MISSING
from models.frame import Frame, FrameColumns
from models.schema import FeatureSchema, SchemaError
from models.stored_document import StoredDocument

BACKGROUND_ROWS = 16
T = TypeVar("T", float, int)


class Background(StoredDocument):
    """At most 16 rows that represent the distribution of each column, and one typical row. Immutable.

    numbers, codes: the matrices of a `Frame`, columns in the order of the schema; None is a missing number.
    """

    format: Literal[1] = 1
    columns: list[str]  # names of the numbers, then of the codes
    numbers: Annotated[list[list[float | None]], Field(min_length=1, max_length=BACKGROUND_ROWS)]
    codes: list[list[int]]
    typical_numbers: list[float | None]
    typical_codes: list[int]

    @classmethod
    def fit(cls, schema: FeatureSchema, frame: FrameColumns, rng: "np.random.Generator") -> Self:
        """Make a background from the training rows; at least one row is required."""
        spread_numbers, typical_numbers = _spread_and_typical(frame.number_columns(), rng, typical_number)
        spread_codes, typical_codes = _spread_and_typical(frame.code_columns(), rng, most_frequent)
        numbers = np.stack(spread_numbers, axis=1) if schema.numeric else None
        codes = np.stack(spread_codes, axis=1) if schema.categorical else None
        empty: list[list[int]] = [[] for _ in range(BACKGROUND_ROWS)]
        return cls(
            columns=_column_names(schema),
            numbers=[[]] * BACKGROUND_ROWS if numbers is None else [_nan_to_none(row) for row in numbers.tolist()],
            codes=empty if codes is None else codes.tolist(),
            typical_numbers=_nan_to_none(typical_numbers),
            typical_codes=typical_codes,
        )

    def check(self, schema: FeatureSchema) -> None:
        """Raises SchemaError if the background was made for another schema."""
        sizes = [feature.levels for feature in schema.categorical]
        rows = [*zip(self.numbers, self.codes, strict=False), (self.typical_numbers, self.typical_codes)]
        fits = (
            self.columns == _column_names(schema)
            and len(self.numbers) == len(self.codes)
            and all(len(numbers) == len(schema.numeric) and len(codes) == len(sizes) for numbers, codes in rows)
            and all(MISSING <= code < size for _, codes in rows for code, size in zip(codes, sizes, strict=True))
        )
        if not fits:
            raise SchemaError("background.json does not belong to the columns of features.json")

    @property
    def rows(self) -> Frame:
        return _frame(self.numbers, self.codes)

    @property
    def typical(self) -> Frame:
        """One row: medians and the most frequent levels."""
        return _frame([self.typical_numbers], [self.typical_codes])


def _spread_and_typical(
    columns: "Iterable[np.ndarray]", rng: "np.random.Generator", typical: Callable[[np.ndarray], T]
) -> tuple[list[np.ndarray], list[T]]:
    """Spread values and a typical value of each column; each column is read once."""
    found = [(spread_values(column, rng), typical(column)) for column in columns]
    return [values for values, _ in found], [value for _, value in found]


def spread_values(column: np.ndarray, rng: "np.random.Generator") -> np.ndarray:
    """(BACKGROUND_ROWS,): values at equal steps through the sorted column, in random order. NaN counts as largest."""
    ranks = (np.arange(BACKGROUND_ROWS) + 0.5) / BACKGROUND_ROWS * len(column)
    return rng.permutation(np.sort(column)[ranks.astype(np.intp)])


def typical_number(column: np.ndarray) -> float:
    """The median of the present values, always one of them; NaN if most are missing."""
    return float(np.sort(column)[len(column) // 2])


def most_frequent(codes: np.ndarray) -> int:
    return int(np.bincount(codes - MISSING).argmax()) + MISSING


def _column_names(schema: FeatureSchema) -> list[str]:
    return [feature.name for feature in schema.in_frame_order]


def _nan_to_none(row: list[float]) -> list[float | None]:
    return [None if value != value else value for value in row]  # NaN is not equal to itself


def _frame(numbers: list[list[float | None]], codes: list[list[int]]) -> Frame:
    rows = len(numbers)
    return Frame(
        np.array(numbers, dtype=np.float64).reshape(rows, -1), np.array(codes, dtype=np.int64).reshape(rows, -1)
    )
