"""Whole columns get the verdict that the row check gives to their rows: the same errors, warnings and matrices."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.cells import read_cells
from models.column_validation import check_columns
from models.columns import Column, ColumnRows, moment_text
from models.feature import Feature, Ignored, Seen
from models.schema import FeatureSchema

FEATURES = [
    Feature(name="age", kind="number", nullable=False, minimum=0, maximum=120.0, seen=Seen(min=17, max=90)),
    Feature(name="capital gain", kind="number", nullable=True, seen=Seen(min=0.5, max=99.0)),
    Feature(name="member", kind="boolean", nullable=False),
    Feature(name="maybe", kind="boolean", nullable=True),
    Feature(name="job", kind="category", nullable=True, unseen="warn", seen=Seen(levels=["clerk", "cook", "1"])),
    Feature(name="zip", kind="category", nullable=False, seen=Seen(levels=[1, 2.5, 2**60 + 1])),
    Feature(name="room", kind="category", nullable=True, unseen="error", seen=Seen(levels=[1, 2])),
    Feature(name="hot", kind="category", nullable=True, seen=Seen(levels=[False, True])),
    Feature(
        name="since", kind="date", nullable=True, minimum="1990-01-01", seen=Seen(min="1999-01-04", max="2024-05-31")
    ),
    Feature(name="day", kind="date", nullable=False, date_format="%d.%m.%Y", maximum="31.12.2029"),
    Feature(name="user", kind="category", nullable=True, seen=Seen(hashed=64, count=20_000, type="text")),
]
SCHEMA = FeatureSchema(
    name="income",
    task="regression",
    target="income",
    features=FEATURES,
    ignored=[Ignored(name="id", reason="different in every row")],
)
NUMBERS = FeatureSchema(
    name="numbers",
    task="regression",
    target="y",
    features=[Feature(name=name, kind="number", nullable=False, seen=Seen(min=0, max=1)) for name in "abc"],
)
NAMES = [*SCHEMA.by_name, "id", "income", "Age", "nothing"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 130),
    st.sampled_from([2**60 + 1, -(2**63), 10**400, 0.0, -0.0, 1.0, 2.5, math.nan, math.inf, -math.inf, 1e308]),
    st.floats(width=32),
    st.sampled_from(["clerk", "cook", "1", "", "x", "2000-01-01", "1980-05-05T03:00:00Z", "29.02.2024", "01.01.2030"]),
    st.lists(st.integers(), max_size=1),
)


def objects(values: Sequence[Any]) -> Any:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


@st.composite
def column(draw: st.DrawFn, rows: int) -> Column:
    def many(one: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(one, min_size=rows, max_size=rows))

    form = draw(st.sampled_from(["f8", "f4", "i8", "i2", "u8", "bool", "moments", "text", "objects", "distinct"]))
    missing = np.array(many(st.booleans()), dtype=bool) if draw(st.booleans()) else None
    if form in ("f8", "f4"):
        numbers = st.floats(-10, 130, width=32) | st.sampled_from([math.nan, math.inf, 1e30])
        return Column(np.array(many(numbers), dtype=form), missing)
    if form in ("i8", "i2"):
        return Column(np.array(many(st.integers(-2, 130)), dtype=form), missing)
    if form == "u8":
        return Column(np.array(many(st.sampled_from([0, 1, 2, 2**60 + 1, 2**64 - 1])), dtype=form), missing)
    if form == "bool":
        return Column(np.array(many(st.booleans()), dtype=bool), missing)
    if form == "moments":
        days = many(st.sampled_from(["1985-01-01", "2000-01-01", "2024-02-29T12:30:00.5", "2050-01-01", "NaT"]))
        return Column(np.array(days, dtype="M8[ns]"), missing)
    if form == "text":
        return Column(np.array(many(st.sampled_from(["clerk", "x", "2000-01-01", "01.02.2020"]))), missing)
    if form == "objects":
        return Column(objects(many(scalars)), missing)
    values = draw(st.lists(st.sampled_from(["clerk", "x", "", "2000-01-01"]), min_size=1, max_size=4))
    codes = np.array(many(st.integers(0, len(values) - 1)), dtype=np.int32)
    return Column(objects(values), missing, codes)


@st.composite
def tables(draw: st.DrawFn, names: Sequence[str] = tuple(NAMES)) -> tuple[dict[str, Column], int]:
    rows = draw(st.integers(0, 12))
    chosen = draw(st.permutations(draw(st.lists(st.sampled_from(names), unique=True))))
    return {name: draw(column(rows)) for name in chosen}, rows


def same_verdict(schema: FeatureSchema, columns: dict[str, Column], count: int, most: int = 100) -> None:
    rows = [*ColumnRows(columns, count)]
    by_rows = schema.check(rows, first_row=7, most=most)
    by_columns = check_columns(schema, columns, count, first_row=7, most=most)
    assert by_columns.errors == by_rows.errors
    assert (by_columns.omitted, type(by_columns.omitted)) == (by_rows.omitted, int)
    assert by_columns.valid == by_rows.valid
    assert by_columns.invalid_rows == by_rows.invalid_rows
    frame = schema.frame(by_rows.rows)
    np.testing.assert_array_equal(by_columns.frame.numbers, frame.numbers)
    np.testing.assert_array_equal(by_columns.frame.codes, frame.codes)
    assert by_columns.warnings == schema.warnings(frame, by_rows.rows)


@given(tables([name for name in NAMES if name != "day"]), st.sampled_from([0, 3, 100]))
@settings(max_examples=150, deadline=None)
def test_columns_get_the_verdict_of_their_rows(table: tuple[dict[str, Column], int], most: int) -> None:
    columns, count = table
    day = Column(objects(["01.02.2020"] * count))
    same_verdict(SCHEMA, {**columns, "day": day}, count, most)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_one_odd_column_among_good_ones_gets_the_verdict_of_its_rows(data: st.DataObject) -> None:
    count = 9
    good: dict[str, Any] = {"age": 40, "member": True, "zip": 1, "day": "01.02.2020"}
    columns = {name: Column(objects([value] * count)) for name, value in good.items()}
    name = data.draw(st.sampled_from([name for name in SCHEMA.by_name if name != "day"]))
    same_verdict(SCHEMA, {**columns, name: data.draw(column(count))}, count)


@given(st.lists(st.tuples(*[st.floats(-1, 2, width=32) | st.just(math.inf)] * 3), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_matrix_of_numbers_gets_the_verdict_of_its_rows(rows: list[Any]) -> None:
    matrix = np.array(rows, dtype=np.float32)
    same_verdict(NUMBERS, {name: Column(matrix[:, place]) for place, name in enumerate("abc")}, len(rows))


def test_a_moment_is_a_date_whatever_format_the_column_has_as_text() -> None:
    moments = np.array(["2020-02-01T12:00", "2030-06-01", "NaT"], dtype="M8[ms]")
    good = {"age": Column(np.full(3, 40)), "member": Column(np.ones(3, bool)), "zip": Column(np.ones(3, int))}
    checked = check_columns(SCHEMA, {**good, "day": Column(moments)}, 3)
    assert [(error.row, error.code) for error in checked.errors] == [(1, "above_maximum"), (2, "null_not_allowed")]
    assert checked.errors[0].message == "row 1, feature 'day': '2030-06-01' is above 31.12.2029"
    assert checked.frame.numbers[0, -1] == datetime(2020, 2, 1, 12, tzinfo=UTC).timestamp()


def test_a_moment_beyond_the_calendar_is_a_bad_date() -> None:
    moments = np.array([2**60, 0], dtype="M8[ms]")
    good = {"age": Column(np.full(2, 40)), "member": Column(np.ones(2, bool)), "zip": Column(np.ones(2, int))}
    checked = check_columns(SCHEMA, {**good, "day": Column(moments)}, 2)
    assert [(error.row, error.code) for error in checked.errors] == [(0, "bad_date")]
    assert moment_text(moments[1]) == "1970-01-01"


def test_a_column_that_is_missing_or_unknown_concerns_every_row_and_is_cheap_to_tell() -> None:
    count = 200_000
    columns = {name: Column(np.zeros(count)) for name in ("a", "b", "C")}
    checked = check_columns(NUMBERS, columns, count)
    assert len(checked.errors) == 100
    assert (checked.omitted, checked.invalid_rows) == (2 * count - 100, count)
    assert [(error.row, error.field, error.code) for error in checked.errors[:3]] == [
        (0, "c", "missing_field"),
        (0, "C", "unknown_field"),
        (1, "c", "missing_field"),
    ]
    assert "did you mean 'c'?" in checked.errors[1].message


def test_whole_levels_beyond_what_floats_hold_are_told_apart() -> None:
    good = {
        "age": Column(np.full(2, 40)),
        "member": Column(np.ones(2, bool)),
        "day": Column(objects(["01.02.2020"] * 2)),
    }
    checked = check_columns(SCHEMA, {**good, "zip": Column(np.array([2**60 + 1, 2**60]))}, 2)
    assert checked.frame.codes[:, 1].tolist() == [2, -1]


# Cells of text


def read(name: str, *cells: str) -> list[Any]:
    found = read_cells(SCHEMA, SCHEMA.by_name[name], cells)
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
def test_a_cell_of_text_is_what_its_column_makes_of_it(name: str, cells: list[str], expected: list[Any]) -> None:
    assert read(name, *cells) == expected


def test_a_missing_token_may_look_like_a_number() -> None:
    schema = NUMBERS.model_copy(update={"missing": ["", "-999"]})
    found = read_cells(schema, schema.features[0], ["1", "-999", "-999.0", "nan"])
    assert [found.item(row) for row in range(4)] == [1.0, None, -999.0, "nan"]


@given(
    st.lists(st.text("0123456789+-.eEinfINF_ naN?,\uff11\u0661\u0131\u0130\x1f", max_size=6), min_size=1, max_size=6)
)
@example(["\uff11\uff12"])  # digits of any script are numbers to both
@example(["\u0131nf"])  # a dotless i
@settings(max_examples=150, deadline=None)
def test_numbers_are_read_as_training_reads_them(cells: list[str]) -> None:
    import pyarrow as pa

    from training.columns import as_numbers, cells_of
    from training.data import Table

    table = Table(["age"], [pa.array(cells, pa.large_string())], False, len(cells), "", [])
    learned = cells_of(table, "age", SCHEMA.missing)
    expected = learned.spread(as_numbers(learned), math.nan, np.float64).tolist()
    missing = (learned.codes < 0).tolist()
    for value, number, gone in zip(read("age", *cells), expected, missing, strict=True):
        if gone:
            assert value is None
        elif math.isnan(number):
            assert isinstance(value, str)
        else:
            assert value == number
