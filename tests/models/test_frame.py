"""Rows and columns are converted to the same matrices."""

import numpy as np
import pytest

from models.feature import MISSING, UNSEEN
from models.frame import column_extremes
from models.schema import FeatureSchema
from tests.models.income import FEATURES, GOOD, SCHEMA


def test_frame_has_nan_for_missing_numbers_and_codes_for_missing_and_unseen_levels() -> None:
    row = GOOD | {"since": "1970-01-02", "job": "cook", "zip": 9, "hot": True}
    frame = SCHEMA.frames.from_rows([row])
    np.testing.assert_array_equal(frame.numbers, [[40, np.nan, 1, 86_400, np.nan]])
    assert frame.codes.tolist() == [[1, UNSEEN, MISSING, 1, MISSING]]


def test_absent_and_null_are_equal() -> None:
    one, other = (
        SCHEMA.frames.from_rows([GOOD]),
        SCHEMA.frames.from_rows([GOOD | {"capital gain": None, "job": None, "since": None}]),
    )
    np.testing.assert_array_equal(one.numbers, other.numbers)
    np.testing.assert_array_equal(one.codes, other.codes)


def test_rows_of_numbers_have_the_same_frame_on_the_fast_path() -> None:
    plain = [feature for feature in FEATURES if not feature.nullable]
    schema = FeatureSchema(name="a", task="regression", target="y", features=plain)
    np.testing.assert_array_equal(schema.frames.from_rows([GOOD, GOOD | {"age": 2}]).numbers, [[40, 1], [2, 1]])
    assert schema.frames.from_rows([]).numbers.shape == (0, 2)


def test_columns_and_rows_have_the_same_frame() -> None:
    rows = [GOOD | {"job": "cook", "since": "2020-01-01"}, GOOD | {"age": 3, "zip": 2.5, "user": "x"}]
    columns = {
        feature.name: np.array([row.get(feature.name) for row in rows], dtype=object) for feature in SCHEMA.categorical
    }
    columns |= {
        name: np.array([r.get(name, np.nan) for r in rows], float) for name in ("age", "capital gain", "member")
    }
    columns |= {"since": np.array([1577836800.0, np.nan]), "day": np.array([np.nan, np.nan])}
    ours, theirs = SCHEMA.frames.from_columns(columns), SCHEMA.frames.from_rows(rows)
    np.testing.assert_array_equal(ours.numbers, theirs.numbers)
    np.testing.assert_array_equal(ours.codes, theirs.codes)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (15, 8), (16, 8), (17, 8), (1001, 7), (333, 33), (50, 100), (5, 0)])
def test_column_extremes_are_the_lowest_and_highest_numbers(shape: tuple[int, int], order: str) -> None:
    numbers = np.asarray(np.random.default_rng(0).normal(size=shape), order=order)  # type: ignore[call-overload]
    for place in range(0, numbers.size, 97):  # each column has NaN in some tables
        lowest, highest = column_extremes(numbers)
        np.testing.assert_array_equal(lowest, numbers.min(axis=0))
        np.testing.assert_array_equal(highest, numbers.max(axis=0))
        numbers[np.unravel_index(place, shape)] = np.nan
