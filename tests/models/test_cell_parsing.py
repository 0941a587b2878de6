"""Text cells are parsed as values of their column's type, as in training."""

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.cell_format import PLAIN, CellFormat
from models.cell_parsing import parse_whole
from models.schema import FeatureSchema
from tests.models.test_column_validation import NUMBERS, SCHEMA


def read(name: str, *cells: str) -> list[Any]:
    found = SCHEMA.readers[name].read_cells(cells)
    return [found.item(row) for row in range(len(cells))]


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("age", ["1", " 2.5 ", "+3e2", ".5", "5."], [1.0, 2.5, 300.0, 0.5, 5.0]),
        ("age", ["1", "", "NA", "?", "nan"], [1.0, None, None, None, None]),
        ("age", ["1", "1_000", "0x10", "1,5", "--1"], [1.0, "1_000", "0x10", "1,5", "--1"]),
        ("age", ["inf", "-Infinity", "1e999"], [math.inf, -math.inf, math.inf]),
        ("age", ["NAN", "1"], ["NAN", 1.0]),
        ("member", ["true", "FALSE", "", "yes", "1"], [True, False, None, "yes", "1"]),
        ("job", [" clerk ", "1", "NA"], ["clerk", "1", None]),
        ("zip", ["1", "2.5", str(2**60 + 1), "01x", "1e400"], [1, 2.5, 2**60 + 1, "01x", math.inf]),
        ("hot", ["True", "false", "maybe"], [True, False, "maybe"]),
        ("since", ["2020-01-01 ", ""], ["2020-01-01", None]),
    ],
)
def test_text_cell_is_parsed_by_its_column(name: str, cells: list[str], expected: list[Any]) -> None:
    assert read(name, *cells) == expected


@pytest.mark.parametrize(
    "cells",
    [
        PLAIN,
        CellFormat(decimal=","),
        CellFormat(units=["%", " km"], thousands=" ", parentheses=True, trailing_minus=True, scales=True),
    ],
    ids=["plain", "comma", "marked"],
)
def test_text_that_is_not_a_number_is_parsed_in_milliseconds(cells: CellFormat) -> None:
    texts = ["1" * 200_000 + "x", "1" + " " * 390 + "x", "(" + " " * 390 + "x", "- " * 190 + "x", "1 " * 190 + "x"]
    started = time.perf_counter()
    assert [cells.parse_number(text) for text in texts] == [None] * len(texts)
    assert time.perf_counter() - started < 1.0  # with backtracking it takes seconds to minutes


def test_blanks_around_the_parts_of_a_number_are_ignored() -> None:
    cells = CellFormat(units=["€", " km"], thousands=" ", parentheses=True, trailing_minus=True, scales=True)
    texts = ["(  5 )", "1 234 €", "-  €  5", "5  M  €", "5   -", "- 1 234.5   km", "1  234"]
    assert [cells.parse_number(text) for text in texts] == [-5.0, 1234.0, -5.0, 5e6, -5.0, -1234.5, None]


def test_missing_token_can_be_a_number() -> None:
    schema = FeatureSchema.model_validate(NUMBERS.model_dump() | {"missing": ["", "-999"]})
    found = schema.readers[schema.features[0].name].read_cells(["1", "-999", "-999.0", "nan"])
    assert [found.item(row) for row in range(4)] == [1.0, None, -999.0, "nan"]


@given(
    st.lists(st.text("0123456789+-.eEinfINF_ naN?,\uff11\u0661\u0131\u0130\x1f", max_size=6), min_size=1, max_size=6)
)
@example(["\uff11\uff12"])  # both accept digits of any script
@example(["\u0131nf"])  # a dotless i
@settings(max_examples=150, deadline=None)
def test_numbers_are_parsed_as_in_training(cells: list[str]) -> None:
    import pyarrow as pa

    from training.cell_values import parse_numbers
    from training.cells import factorize
    from training.raw_table import RawTable

    table = RawTable(["age"], [pa.array(cells, pa.large_string())], False, len(cells), [], {})
    column = factorize(table, "age", SCHEMA.missing)
    expected = column.broadcast(parse_numbers(column), math.nan, np.float64).tolist()
    missing = (column.codes < 0).tolist()
    for value, number, absent in zip(read("age", *cells), expected, missing, strict=True):
        if absent:
            assert value is None
        elif math.isnan(number):
            assert isinstance(value, str)
        else:
            assert value == number


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [("1.5", ".", 1.5), ("1,5", ",", 1.5), ("1,5", ".", None), ("1.5", ",", None), ("-inf", ",", -math.inf)],
)
def test_number_is_parsed_with_the_decimal_mark_of_its_table(text: str, decimal: Any, number: float | None) -> None:
    assert CellFormat(decimal=decimal).parse_number(text) == number


def test_booleans_are_parsed_from_words_and_integers_keep_all_digits() -> None:
    assert [PLAIN.parse_boolean(text) for text in ("TRUE", "False", "1", "yes")] == [True, False, None, None]
    assert [parse_whole(text) for text in (str(2**70), "1.0", "9" * 5000)] == [2**70, None, None]
