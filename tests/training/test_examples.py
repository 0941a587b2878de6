"""Example rows and golden rows are valid and realistic, and are not rows of the table."""

from typing import Any

import numpy as np
import pytest

from models.feature import Feature, TrainingRange
from models.rows import validate_rows
from models.schema import FeatureSchema
from training import examples
from training.errors import UsageError

DAYS = np.arange(40) * 86_400.0
LEVELS: list[Any] = ["a", "b"]


def schema(**changes: Any) -> FeatureSchema:
    features = [
        Feature(name="n", kind="number", nullable=True, **changes),
        Feature(name="flag", kind="boolean", nullable=False),
        Feature(name="level", kind="category", nullable=True, seen=TrainingRange(levels=LEVELS)),
        Feature(name="day", kind="date", nullable=False),
        Feature(name="uk", kind="date", nullable=False, date_format="%d/%m/%Y %H:%M"),
    ]
    return FeatureSchema(name="t", task="regression", target="y", features=features)


COLUMNS: dict[str, Any] = {
    "n": np.array([np.nan, *range(1, 40)], dtype=np.float64),
    "flag": np.arange(40) % 2.0,
    "level": np.array(["a", "b", None, "a"] * 10, dtype=object),
    "day": DAYS,
    "uk": DAYS + 3600.0,
}
HELD_OUT = np.arange(10, 40)


def rows(for_schema: FeatureSchema | None = None, held_out: Any = HELD_OUT, **options: Any) -> list[dict[str, Any]]:
    return examples.draw_rows(for_schema or schema(), COLUMNS, held_out, np.random.default_rng(0), **options)


def test_every_example_row_is_valid_and_contains_every_column() -> None:
    made = rows()
    assert len(made) == examples.GOLDEN_ROWS
    assert not validate_rows(schema(), made).errors
    assert all(list(row) == ["n", "flag", "level", "day", "uk"] for row in made)


def test_values_of_examples_are_held_out_and_have_json_types() -> None:
    made = rows()
    assert {row["n"] for row in made} <= set(range(10, 40))
    assert {type(row["n"]) for row in made} == {int}
    assert {row["flag"] for row in made} == {True, False}
    assert {type(row["flag"]) for row in made} == {bool}
    assert {row["level"] for row in made} == {"a", "b", None}
    days = {schema().by_name["day"].parse_date(row["day"]) for row in made}
    assert days <= set(DAYS[10:])
    assert all(len(row["day"]) == 10 and row["uk"].endswith(" 01:00") for row in made)


def test_example_rows_are_not_rows_of_the_table() -> None:
    real = {(row["n"], row["day"]) for row in rows(real=True)}
    assert len([row for row in rows() if (row["n"], row["day"]) in real]) < 5  # a few of 32 rows can be equal by chance


def test_first_example_rows_are_complete() -> None:
    assert all(value is not None for row in rows()[: examples.COMPLETE_ROWS] for value in row.values())


def test_same_seed_gives_the_same_example_rows() -> None:
    assert rows() == rows()


def test_real_examples_are_complete_rows_of_the_table() -> None:
    made = rows(real=True)
    assert len(made) == 30
    for row in made:
        place = int(row["n"])
        assert row["day"] == f"1970-{'01' if place < 31 else '02'}-{place % 31 + 1:02}"
        assert row["level"] == COLUMNS["level"][place]


@pytest.mark.parametrize("real", [False, True])
def test_examples_are_within_the_declared_limits(*, real: bool) -> None:
    made = rows(schema(minimum=38), real=real)
    assert made
    assert all(row["n"] is None or row["n"] >= 38 for row in made)


def test_a_column_without_a_valid_value_is_an_error_unless_it_is_nullable() -> None:
    beyond = schema(minimum=1000)
    assert {row["n"] for row in rows(beyond)} == {None}
    strict = beyond.model_dump()
    strict["features"][0]["nullable"] = False
    with pytest.raises(UsageError, match="'n': no held-out value is within"):
        rows(FeatureSchema(**strict))
    with pytest.raises(UsageError, match="--real-examples"):
        rows(FeatureSchema(**strict), real=True)


def test_examples_are_drawn_from_a_single_held_out_row() -> None:
    assert {row["n"] for row in rows(held_out=np.array([12]))} == {12}


def test_examples_of_features_are_kept_if_the_row_has_no_value() -> None:
    before = schema(example=5)
    made = examples.with_examples(before, rows()[0] | {"n": None})
    assert made.by_name["n"].example == 5
    assert made.by_name["flag"].example in (True, False)
    assert made.numeric[0] is made.features[0]


def test_numbers_are_whole_only_while_floats_are_exact() -> None:
    feature = schema().by_name["n"]
    values = [examples.to_json_value(feature, value) for value in (3.0, 3.5, 1e300, -0.0, 2.0**53)]
    assert [type(value) for value in values] == [int, float, float, int, float]


def test_real_examples_may_have_a_text_without_a_score() -> None:
    """Examples are drawn before the scores of texts are fitted."""
    title = Feature(name="title", kind="text", nullable=False)
    known = FeatureSchema(name="t", task="regression", target="y", features=[title])
    columns = {"title": np.array(["a red rose", "a blue one"], dtype=object)}
    made = examples.draw_rows(known, columns, np.arange(2), np.random.default_rng(0), real=True)
    assert {row["title"] for row in made} == {"a red rose", "a blue one"}
