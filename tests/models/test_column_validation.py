"""Validating whole columns gives the same result as validating their rows: the same errors, warnings and matrices."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.column_validation import validate_columns
from models.columns import Column, ColumnRows
from models.date_parsing import moment_text
from models.feature import Feature, Ignored, TrainingRange
from models.rows import validate_each_value
from models.schema import FeatureSchema
from tests.models.income import assert_same

FEATURES = [
    Feature(name="age", kind="number", nullable=False, minimum=0, maximum=120.0, seen=TrainingRange(min=17, max=90)),
    Feature(name="capital gain", kind="number", nullable=True, seen=TrainingRange(min=0.5, max=99.0)),
    Feature(name="member", kind="boolean", nullable=False),
    Feature(name="maybe", kind="boolean", nullable=True),
    Feature(
        name="job", kind="category", nullable=True, unseen="warn", seen=TrainingRange(levels=["clerk", "cook", "1"])
    ),
    Feature(name="zip", kind="category", nullable=False, seen=TrainingRange(levels=[1, 2.5, 2**60 + 1])),
    Feature(name="room", kind="category", nullable=True, unseen="error", seen=TrainingRange(levels=[1, 2])),
    Feature(name="hot", kind="category", nullable=True, seen=TrainingRange(levels=[False, True])),
    Feature(
        name="since",
        kind="date",
        nullable=True,
        minimum="1990-01-01",
        seen=TrainingRange(min="1999-01-04", max="2024-05-31"),
    ),
    Feature(name="day", kind="date", nullable=False, date_format="%d.%m.%Y", maximum="31.12.2029"),
    Feature(name="user", kind="category", nullable=True, seen=TrainingRange(hashed=64, count=20_000, type="text")),
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
    features=[Feature(name=name, kind="number", nullable=False, seen=TrainingRange(min=0, max=1)) for name in "abc"],
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


def same_result(schema: FeatureSchema, columns: dict[str, Column], count: int, max_errors: int = 100) -> None:
    rows = [*ColumnRows(columns, count)]
    by_rows = validate_each_value(schema, rows, first_row=7, max_errors=max_errors)
    assert_same(validate_columns(schema, columns, count, first_row=7, max_errors=max_errors), by_rows)


@given(tables([name for name in NAMES if name != "day"]), st.sampled_from([0, 3, 100]))
@settings(max_examples=150, deadline=None)
def test_columns_are_validated_like_rows(table: tuple[dict[str, Column], int], most: int) -> None:
    columns, count = table
    day = Column(objects(["01.02.2020"] * count))
    same_result(SCHEMA, {**columns, "day": day}, count, most)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_one_invalid_column_is_validated_like_rows(data: st.DataObject) -> None:
    count = 9
    good: dict[str, Any] = {"age": 40, "member": True, "zip": 1, "day": "01.02.2020"}
    columns = {name: Column(objects([value] * count)) for name, value in good.items()}
    name = data.draw(st.sampled_from([name for name in SCHEMA.by_name if name != "day"]))
    same_result(SCHEMA, {**columns, name: data.draw(column(count))}, count)


@given(st.lists(st.tuples(*[st.floats(-1, 2, width=32) | st.just(math.inf)] * 3), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_matrix_of_numbers_is_validated_like_rows(rows: list[Any]) -> None:
    matrix = np.array(rows, dtype=np.float32)
    same_result(NUMBERS, {name: Column(matrix[:, place]) for place, name in enumerate("abc")}, len(rows))


def test_datetime64_is_a_date_for_any_text_format() -> None:
    moments = np.array(["2020-02-01T12:00", "2030-06-01", "NaT"], dtype="M8[ms]")
    good = {"age": Column(np.full(3, 40)), "member": Column(np.ones(3, bool)), "zip": Column(np.ones(3, int))}
    validated = validate_columns(SCHEMA, {**good, "day": Column(moments)}, 3)
    assert [(error.row, error.code) for error in validated.errors] == [(1, "above_maximum"), (2, "null_not_allowed")]
    assert validated.errors[0].message == "row 1, feature 'day': '2030-06-01' is above 31.12.2029"
    assert validated.frame.numbers[0, -1] == datetime(2020, 2, 1, 12, tzinfo=UTC).timestamp()


def test_datetime64_outside_the_calendar_is_a_bad_date() -> None:
    moments = np.array([2**60, 0], dtype="M8[ms]")
    good = {"age": Column(np.full(2, 40)), "member": Column(np.ones(2, bool)), "zip": Column(np.ones(2, int))}
    validated = validate_columns(SCHEMA, {**good, "day": Column(moments)}, 2)
    assert [(error.row, error.code) for error in validated.errors] == [(0, "bad_date")]
    assert moment_text(moments[1]) == "1970-01-01"


def test_missing_and_unknown_columns_are_reported_for_every_row() -> None:
    count = 200_000
    columns = {name: Column(np.zeros(count)) for name in ("a", "b", "C")}
    validated = validate_columns(NUMBERS, columns, count)
    assert len(validated.errors) == 100
    assert (validated.omitted, validated.invalid_rows) == (2 * count - 100, count)
    assert [(error.row, error.field, error.code) for error in validated.errors[:3]] == [
        (0, "c", "missing_field"),
        (0, "C", "unknown_field"),
        (1, "c", "missing_field"),
    ]
    assert "did you mean 'c'?" in validated.errors[1].message


def test_integer_levels_above_float_precision_stay_distinct() -> None:
    good = {
        "age": Column(np.full(2, 40)),
        "member": Column(np.ones(2, bool)),
        "day": Column(objects(["01.02.2020"] * 2)),
    }
    validated = validate_columns(SCHEMA, {**good, "zip": Column(np.array([2**60 + 1, 2**60]))}, 2)
    assert validated.frame.codes[:, 1].tolist() == [2, -1]
