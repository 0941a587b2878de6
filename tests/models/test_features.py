"""What a valid row is, rule by rule, and that the compiled check and the plain one agree."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from models.feature import MISSING, UNSEEN, Feature, Ignored, Seen, bucket
from models.rows import MAX_LISTED_ERRORS
from models.schema import FeatureSchema, SchemaError
from models.text import nearest, render, truncate

AGE = Feature(name="age", kind="number", nullable=False, minimum=0, maximum=120.0, seen=Seen(min=17, max=90))
GAIN = Feature(name="capital gain", kind="number", nullable=True, seen=Seen(min=0.5, max=99.0))
MEMBER = Feature(name="member", kind="boolean", nullable=False)
JOB = Feature(name="job", kind="category", nullable=True, unseen="warn", seen=Seen(levels=["clerk", "cook", "1"]))
ZIP = Feature(name="zip", kind="category", nullable=True, seen=Seen(levels=[1, 2.5, 2**60 + 1]))
ROOM = Feature(name="room", kind="category", nullable=True, unseen="error", seen=Seen(levels=[1, 2]))
HOT = Feature(name="hot", kind="category", nullable=True, seen=Seen(levels=[False, True]))
SINCE = Feature(
    name="since", kind="date", nullable=True, minimum="1990-01-01", seen=Seen(min="1999-01-04", max="2024-05-31")
)
DAY = Feature(name="day", kind="date", nullable=True, date_format="%d.%m.%Y", maximum="31.12.2029")
HASHED = Feature(name="user", kind="category", nullable=True, seen=Seen(hashed=64, count=20_000, type="text"))

FEATURES = [AGE, GAIN, MEMBER, JOB, ZIP, ROOM, HOT, SINCE, DAY, HASHED]
SCHEMA = FeatureSchema(
    name="income",
    task="binary",
    target="income",
    classes=["<=50K", ">50K"],
    features=FEATURES,
    ignored=[Ignored(name="id", reason="different in every row")],
)
GOOD: dict[str, Any] = {"age": 40, "member": True}


def codes(**values: Any) -> list[tuple[str | None, str]]:
    """What is wrong with a good row that has these values too."""
    row = GOOD | {name.replace("_", " "): value for name, value in values.items()}
    return [(error.field, error.code) for error in SCHEMA.check([row]).errors]


def of_body(*rows: Any) -> bytes:
    return json.dumps({"rows": rows}).encode()


# The validity table


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"typo": 1}, [("typo", "unknown_field")]),
        ({"age": None}, [("age", "null_not_allowed")]),
        ({"age": "40"}, [("age", "wrong_type")]),
        ({"age": True}, [("age", "wrong_type")]),
        ({"age": [40]}, [("age", "wrong_type")]),
        ({"age": float("nan")}, [("age", "not_finite")]),
        ({"age": float("inf")}, [("age", "not_finite")]),
        ({"age": 10**400}, [("age", "not_finite")]),
        ({"age": -1}, [("age", "below_minimum")]),
        ({"age": 120.5}, [("age", "above_maximum")]),
        ({"member": 1}, [("member", "wrong_type")]),
        ({"member": "true"}, [("member", "wrong_type")]),
        ({"job": 1}, [("job", "wrong_type")]),
        ({"zip": "1"}, [("zip", "wrong_type")]),
        ({"zip": True}, [("zip", "wrong_type")]),
        ({"zip": 10**400}, [("zip", "not_finite")]),
        ({"hot": 1}, [("hot", "wrong_type")]),
        ({"room": 3}, [("room", "unseen_level")]),
        ({"since": 20200101}, [("since", "wrong_type")]),
        ({"since": "yesterday"}, [("since", "bad_date")]),
        ({"since": "2020-02-30"}, [("since", "bad_date")]),
        ({"since": "1989-12-31T23:59:59"}, [("since", "below_minimum")]),
        ({"since": "1990-01-01T00:00:00+02:00"}, [("since", "below_minimum")]),
        ({"day": "2020-01-01"}, [("day", "bad_date")]),
        ({"day": "01.01.2030"}, [("day", "above_maximum")]),
    ],
)
def test_what_breaks_a_rule_is_an_error_of_that_field(values: Any, expected: Any) -> None:
    assert codes(**values) == expected


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"age": 0},
        {"age": 120},
        {"age": 40.5},
        {"capital_gain": None},
        {"capital_gain": -1e308},
        {"job": "never seen"},
        {"job": ""},
        {"zip": 3},
        {"room": 1.0},
        {"room": None},
        {"hot": True},
        {"since": "2020-01-01"},
        {"since": "2020-01-01T10:00:00Z"},
        {"since": "2999-01-01"},
        {"since": None},
        {"day": "29.02.2024"},
        {"id": {"any": ["thing"]}},
        {"income": ">50K"},
        {"user": "anybody"},
    ],
)
def test_what_the_table_allows_is_accepted(values: Any) -> None:
    assert codes(**values) == []


def test_a_field_that_was_never_missing_may_not_be_absent() -> None:
    assert [(e.field, e.code) for e in SCHEMA.check([{}]).errors] == [
        ("age", "missing_field"),
        ("member", "missing_field"),
    ]


@pytest.mark.parametrize("row", [None, 1, "row", [1, 2], True])
def test_a_row_that_is_no_object_is_told(row: Any) -> None:
    [error] = SCHEMA.check([row]).errors
    assert (error.row, error.field, error.code) == (0, None, "wrong_type")


def test_messages_name_row_field_what_came_and_what_was_expected() -> None:
    rows = [GOOD, GOOD | {"age": 212, "agee": 1}]
    assert [error.message for error in SCHEMA.check(rows).errors] == [
        "row 1, feature 'age': 212.0 is above 120.0",
        "row 1, field 'agee': the table has no such column, did you mean 'age'?",
    ]


def test_all_errors_are_told_at_once_and_the_rest_is_counted() -> None:
    checked = SCHEMA.check([{}] * 60 + [GOOD])
    assert len(checked.errors) == MAX_LISTED_ERRORS
    assert checked.omitted == 120 - MAX_LISTED_ERRORS
    assert (checked.valid, checked.count, checked.invalid_rows) == ([60], 61, 60)


def test_valid_rows_keep_their_order_and_their_places() -> None:
    rows = [GOOD | {"age": 1}, {}, GOOD | {"age": 2}]
    checked = SCHEMA.check(rows)
    assert [row["age"] for row in checked.rows] == [1, 2]
    assert checked.valid == [0, 2]
    assert SCHEMA.check(rows[:1]).valid is None


# The compiled check


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"rows": []}',
        b'{"rows": {}}',
        b'{"rows": [1]}',
        b'{"row": [{"age": 40, "member": true}]}',
        b'{"rows": [{"age": 40, "member": true}], "more": 1}',
        b'{"rows": [{"age": 1e999, "member": true}]}',
        b'{"rows": [{"age": ' + b"9" * 5000 + b', "member": true}]}',
        b'{"rows": [{"age": 40, "member": true, "zip": ' + b"9" * 400 + b"}]}",
        b'{"rows": [{"age": 40, "member": true, "job": "\\ud800"}]}',
        b'{"rows": [{"age": 40, "member": true, "id": NaN}]}',
        b'{"rows": [{"age": 40, "member": true, "id": -Infinity}]}',
        b'{"rows": [{"age": 40, "member": true, "id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
        b'{"rows": [{"age": 40, "member": true, "' + b"x" * 100_000 + b'": 1}]}',
        b'{"rows": [{"age": 40, "member": true, "job": "\xff"}]}',
        b'{"rows": [{"age": 40, "member": true, "day": "\\u0000"}]}',
    ],
)
def test_hostile_bodies_are_not_accepted_and_do_no_harm(body: bytes) -> None:
    assert SCHEMA.accept_json(body) is None


def test_the_compiled_check_accepts_good_rows_of_all_kinds() -> None:
    row = GOOD | {"capital gain": None, "job": "cook", "zip": 2.5, "room": 1, "hot": False, "since": "2020-01-01"}
    assert SCHEMA.accept_json(of_body(row, GOOD)) == [row, GOOD]


def test_whole_levels_above_what_a_float_holds_stay_apart() -> None:
    rows = SCHEMA.accept_json(of_body(GOOD | {"zip": 2**60 + 1}, GOOD | {"zip": 2**60}))
    assert rows is not None
    assert SCHEMA.frame(rows).codes[:, 1].tolist() == [2, UNSEEN]


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**66),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs"]), max_size=3),
    st.just(10**400),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["clerk", "1", 1, 1.0, 2.5, 2**60 + 1, 0, 120, -0.0, "2020-01-01", "1989-01-01", "31.12.2029"]),
)
NAMES = st.sampled_from([feature.name for feature in FEATURES] + ["id", "income", "typo", ""])
ROWS = st.lists(
    st.one_of(JUNK, st.dictionaries(NAMES, JUNK, max_size=5).map(lambda more: GOOD | more)), min_size=1, max_size=4
)


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_the_compiled_check_never_accepts_what_the_rules_refuse(rows: list[Any]) -> None:
    body = of_body(*rows)
    accepted = SCHEMA.accept_json(body)
    if accepted is None:
        return
    plain = from_json(body)["rows"]
    assert SCHEMA.check(plain).errors == []
    ours, theirs = SCHEMA.frame(accepted), SCHEMA.frame(plain)
    np.testing.assert_array_equal(ours.numbers, theirs.numbers)
    np.testing.assert_array_equal(ours.codes, theirs.codes)


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_rows_that_pass_the_check_always_have_a_frame_warnings_and_messages_that_can_be_sent(rows: list[Any]) -> None:
    checked = SCHEMA.check(rows)
    frame = SCHEMA.frame(checked.rows)
    assert frame.numbers.shape == (len(checked.rows), 5)
    assert frame.codes.shape == (len(checked.rows), 5)
    assert not np.isinf(frame.numbers).any()
    told = [error.message + (error.field or "") for error in checked.errors]
    told += [warning.message for found in SCHEMA.warnings(frame, checked.rows).values() for warning in found]
    "".join(told).encode()


# Frames


def test_a_frame_holds_numbers_with_nan_and_codes_with_missing_and_unseen() -> None:
    row = GOOD | {"since": "1970-01-02", "job": "cook", "zip": 9, "hot": True}
    frame = SCHEMA.frame([row])
    np.testing.assert_array_equal(frame.numbers, [[40, np.nan, 1, 86_400, np.nan]])
    assert frame.codes.tolist() == [[1, UNSEEN, MISSING, 1, MISSING]]


def test_absent_and_null_are_the_same() -> None:
    one, other = SCHEMA.frame([GOOD]), SCHEMA.frame([GOOD | {"capital gain": None, "job": None, "since": None}])
    np.testing.assert_array_equal(one.numbers, other.numbers)
    np.testing.assert_array_equal(one.codes, other.codes)


def test_one_and_true_never_fall_together() -> None:
    assert ZIP.code(1) == ZIP.code(1.0) == 0
    assert HOT.code(True) == 1
    assert codes(zip=True) == [("zip", "wrong_type")]
    assert codes(hot=1) == [("hot", "wrong_type")]


def test_dates_without_a_zone_are_utc_and_zones_are_heeded() -> None:
    texts = ["2020-01-01T12:00", "2020-01-01T12:00Z", "2020-01-01T14:00+02:00", " 2020-01-01T12:00:00 "]
    assert {SINCE.parse_date(text) for text in texts} == {1577880000.0}
    assert DAY.parse_date("01.01.2020") == 1577836800.0


def test_rows_of_numbers_only_take_the_short_way_to_the_same_frame() -> None:
    plain = [feature for feature in FEATURES if not feature.nullable]
    schema = FeatureSchema(name="a", task="regression", target="y", features=plain)
    np.testing.assert_array_equal(schema.frame([GOOD, GOOD | {"age": 2}]).numbers, [[40, 1], [2, 1]])
    assert schema.frame([]).numbers.shape == (0, 2)


def test_columns_and_rows_give_the_same_frame() -> None:
    rows = [GOOD | {"job": "cook", "since": "2020-01-01"}, GOOD | {"age": 3, "zip": 2.5, "user": "x"}]
    columns = {
        feature.name: np.array([row.get(feature.name) for row in rows], dtype=object) for feature in SCHEMA.categorical
    }
    columns |= {
        name: np.array([r.get(name, np.nan) for r in rows], float) for name in ("age", "capital gain", "member")
    }
    columns |= {"since": np.array([1577836800.0, np.nan]), "day": np.array([np.nan, np.nan])}
    ours, theirs = SCHEMA.frame_of_columns(columns), SCHEMA.frame(rows)
    np.testing.assert_array_equal(ours.numbers, theirs.numbers)
    np.testing.assert_array_equal(ours.codes, theirs.codes)


def test_a_bucket_is_the_same_on_every_machine() -> None:
    assert bucket("x", 4096) == 0x8CDC1683 % 4096  # the CRC-32 of "x"
    assert bucket(1.0, 4096) == bucket(1, 4096)
    assert 0 <= bucket("\ud800", 64) < 64


# Warnings


def warned(**values: Any) -> list[tuple[str, str]]:
    row = GOOD | values
    found = SCHEMA.warnings(SCHEMA.frame([row]), [row])
    return [(warning.field, warning.code) for warning in found.get(0, [])]


def test_values_outside_of_what_training_saw_are_warned_of() -> None:
    assert warned(age=100) == [("age", "outside_seen")]
    assert warned(since="1995-01-01") == [("since", "outside_seen")]
    assert warned(job="pilot", zip=7) == [("job", "unseen_level"), ("zip", "unseen_level")]


def test_usual_values_gaps_and_dates_after_training_are_not_warned_of() -> None:
    assert warned(age=90, since="2999-01-01", job=None, zip=1.0, user="nobody") == []


def test_a_warning_shows_the_value_and_the_range_also_where_only_columns_came() -> None:
    row = GOOD | {"age": 100.5, "since": "1995-01-01", "job": "pilot"}
    frame = SCHEMA.frame([row])
    assert [warning.message for warning in SCHEMA.warnings(frame, [row])[0]] == [
        "feature 'age': 100.5 is outside 17..90, the range seen in training",
        "feature 'since': '1995-01-01' is outside 1999-01-04..2024-05-31, the range seen in training",
        "feature 'job': 'pilot' is a level never seen in training",
    ]
    assert [warning.message for warning in SCHEMA.warnings(frame)[0]][1:] == [
        "feature 'since': '1995-01-01' is outside 1999-01-04..2024-05-31, the range seen in training",
        "feature 'job': holds a level never seen in training",
    ]


# The schema as JSON


def test_a_schema_written_and_read_is_the_same() -> None:
    again = FeatureSchema.from_json(SCHEMA.to_json())
    assert again == SCHEMA
    assert again.to_json() == SCHEMA.to_json()
    assert again.by_name["zip"].positions == {1: 0, 2.5: 1, 2**60 + 1: 2}
    assert [type(level) for level in again.by_name["hot"].seen.levels or []] == [bool, bool]


def test_whole_numbers_are_written_without_a_point_and_one_feature_stands_on_a_line() -> None:
    lines = SCHEMA.to_json().splitlines()
    assert '"minimum": 0, "maximum": 120' in lines[2]
    assert '"seen": {"min": 17, "max": 90}' in lines[2]
    assert [line.strip()[:9] for line in lines[2 : 2 + len(FEATURES)]] == ['{"name": '] * len(FEATURES)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"format": 2}, "format"),
        ({"task": "guess"}, "task"),
        ({"name": "Income"}, "name"),
        ({"name": "a" * 42}, "name"),
        ({"colour": 1}, "colour"),
        ({"classes": None}, "a classification has classes"),
        ({"classes": ["a"]}, "does not have 1 classes"),
        ({"classes": ["a", "b", "c"]}, "does not have 3 classes"),
        ({"classes": [1, 1.0]}, "distinct"),
        ({"classes": [0, False]}, "distinct"),
        ({"classes": [1, "1"]}, "of one type"),
        ({"features": []}, "features"),
        ({"target": "age"}, "'age' is named twice"),
        ({"ignored": [{"name": "age", "reason": ""}]}, "'age' is named twice"),
    ],
)
def test_an_edited_schema_that_contradicts_itself_is_refused_in_one_line(edit: dict[str, Any], told: str) -> None:
    with pytest.raises(SchemaError) as refused:
        FeatureSchema.from_json(json.dumps(json.loads(SCHEMA.to_json()) | edit))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"kind": "numeric"}, "feature 'a': kind: Input should be 'number'"),
        ({"nulable": True}, "feature 'a': nulable: "),
        ({"nullable": None}, "feature 'a': nullable: "),
        ({"name": ""}, "features.0.name: "),
        ({"minimum": "0"}, "'a': minimum '0' is not a number"),
        ({"minimum": True}, "feature 'a': minimum: Input should be a valid integer or a valid number"),
        ({"seen": {"levels": [[]]}}, "feature 'a': seen.levels.0: "),
        ({"minimum": 10**400}, "minimum a very large integer is not a number"),
        ({"maximum": float("inf")}, "maximum"),
        ({"minimum": 2, "maximum": 1}, "minimum 2 is above maximum 1"),
        ({"seen": {"min": "low"}}, "seen.min 'low' is not a number"),
        ({"unseen": "error"}, "'unseen' is for categories"),
        ({"kind": "date", "minimum": "soon"}, "minimum 'soon' is not an ISO 8601 date"),
        ({"kind": "date", "minimum": 5}, "minimum 5 is not an ISO 8601 date"),
        ({"kind": "date", "date_format": "%d/%m/%Y", "maximum": "2020-01-01"}, "is not a date like %d/%m/%Y"),
        ({"kind": "category", "minimum": 1}, "a category has no minimum"),
        ({"kind": "boolean", "maximum": 1}, "a boolean has no maximum"),
        ({"kind": "category", "unseen": "error", "seen": {"hashed": 8}}, "are hashed"),
        ({"kind": "category", "seen": {"levels": [1, True]}}, "true is not"),
        ({"kind": "category", "seen": {"levels": ["a", 1]}}, "1 is not"),
        ({"kind": "category", "seen": {"levels": [1, 2, 1.0]}}, "1 is listed twice"),
    ],
)
def test_an_edited_feature_that_makes_no_sense_is_refused_in_one_line(edit: dict[str, Any], told: str) -> None:
    whole = json.loads(FeatureSchema(name="a", task="regression", target="y", features=[AGE]).to_json())
    whole["features"] = [{"name": "a", "kind": "number", "nullable": False} | edit]
    with pytest.raises(SchemaError) as refused:
        FeatureSchema.from_json(json.dumps(whole))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}'])
def test_what_is_no_schema_is_a_schema_error(text: str) -> None:
    with pytest.raises(SchemaError):
        FeatureSchema.from_json(text)


# Words


def test_the_nearest_name_is_found_whatever_the_case() -> None:
    assert nearest("capital-gain", ["age", "Capital Gain"]) == "Capital Gain"
    assert nearest("zzz", ["age"]) is None
    assert nearest("x" * 100_000, ["age"]) is None


def test_values_in_messages_are_short_and_can_be_sent() -> None:
    assert render("x" * 1000) == "'" + "x" * 60 + "…'"
    values: list[Any] = [True, None, 3, 2.5, 10**30, [1], {}]
    assert [render(value) for value in values] == [
        *("true", "null", "3", "2.5", "a very large integer", "an array", "an object"),
    ]
    assert truncate("\ud800") == "?"
