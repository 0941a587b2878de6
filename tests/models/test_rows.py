"""The rules for valid rows, and how errors of rows are reported."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.rows import (
    MAX_LISTED_ERRORS,
    RowError,
    UndecodableRow,
    ValidatedRows,
    concatenate,
    validate_each_value,
    validate_rows,
)
from tests.models.income import GOOD, ROWS, SCHEMA, assert_same


def codes(**values: Any) -> list[tuple[str | None, str]]:
    """The errors of a valid row with these values added."""
    row = GOOD | {name.replace("_", " "): value for name, value in values.items()}
    validated = validate_rows(SCHEMA, [row])
    assert validated.errors == validate_each_value(SCHEMA, [row]).errors or not validated.errors
    return [(error.field, error.code) for error in validated.errors]


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
        ({"since": True}, [("since", "wrong_type")]),
        ({"since": ["2020-01-01"]}, [("since", "wrong_type")]),
        ({"since": 20200101}, [("since", "bad_date")]),
        ({"since": 1.6e15}, [("since", "bad_date")]),
        ({"since": 600_000_000}, [("since", "below_minimum")]),
        ({"since": "1674122400000"}, [("since", "bad_date")]),
        ({"since": "20200101x1200"}, [("since", "bad_date")]),
        ({"since": "yesterday"}, [("since", "bad_date")]),
        ({"since": "2020-02-30"}, [("since", "bad_date")]),
        ({"since": "1989-12-31T23:59:59"}, [("since", "below_minimum")]),
        ({"since": "1990-01-01T00:00:00+02:00"}, [("since", "below_minimum")]),
        ({"day": "20200101"}, [("day", "bad_date")]),
        ({"day": "01.01.2030"}, [("day", "above_maximum")]),
    ],
)
def test_rule_violation_is_reported_for_its_field(values: Any, expected: Any) -> None:
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
def test_valid_values_are_accepted(values: Any) -> None:
    assert codes(**values) == []


def test_field_never_missing_in_training_is_required() -> None:
    assert [(e.field, e.code) for e in validate_rows(SCHEMA, [{}]).errors] == [
        ("age", "missing_field"),
        ("member", "missing_field"),
    ]


@pytest.mark.parametrize("row", [None, 1, "row", [1, 2], True])
def test_row_that_is_not_an_object_is_an_error(row: Any) -> None:
    [error] = validate_rows(SCHEMA, [row]).errors
    assert (error.row, error.field, error.code) == (0, None, "wrong_type")


def test_messages_name_row_field_value_and_expectation() -> None:
    rows = [GOOD, GOOD | {"age": 212, "agee": 1}]
    assert [error.message for error in validate_rows(SCHEMA, rows).errors] == [
        "row 1, feature 'age': 212.0 is above 120.0",
        "row 1, field 'agee': the table has no such column, did you mean 'age'?",
    ]


def test_all_errors_are_listed_and_those_above_the_limit_are_counted() -> None:
    validated = validate_rows(SCHEMA, [{}] * 60 + [GOOD])
    assert len(validated.errors) == MAX_LISTED_ERRORS
    assert validated.omitted == 120 - MAX_LISTED_ERRORS
    assert (validated.valid, validated.count, validated.invalid_rows) == ([60], 61, 60)


def test_error_limit_and_first_row_number_can_be_set() -> None:
    validated = validate_rows(SCHEMA, [{}, GOOD, GOOD | {"x": 1, "y": 1}], first_row=7, max_errors=3)
    assert [(error.row, error.field) for error in validated.errors] == [(7, "age"), (7, "member"), (9, "x")]
    assert (validated.omitted, validated.valid) == (1, [1])


def test_valid_rows_keep_their_order_and_their_positions() -> None:
    rows = [GOOD | {"age": 1}, {}, GOOD | {"age": 2}]
    validated = validate_rows(SCHEMA, rows)
    assert validated.frame.numbers[:, 0].tolist() == [1, 2]
    assert validated.valid == [0, 2]
    assert validate_rows(SCHEMA, rows[:1]).valid is None


def test_undecodable_row_is_reported_among_other_errors() -> None:
    validated = validate_rows(SCHEMA, [GOOD, UndecodableRow("bad_json", "the line is not JSON")])
    assert validated.errors == [RowError(1, None, "bad_json", "row 1: the line is not JSON")]
    assert validated.valid == [0]


@given(ROWS, st.integers(1, 3), st.sampled_from([0, 3, 100]))
@settings(max_examples=100, deadline=None)
def test_concatenated_blocks_equal_rows_validated_together(rows: list[Any], size: int, most: int) -> None:
    blocks: list[ValidatedRows] = []
    for start in range(0, len(rows), size):
        room = most - sum(len(block.errors) for block in blocks)
        blocks.append(validate_rows(SCHEMA, rows[start : start + size], first_row=start, max_errors=room))
    assert_same(concatenate(blocks), validate_rows(SCHEMA, rows, max_errors=most))


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_rows_give_the_same_result_whether_compiled_validators_recognise_them_or_not(rows: list[Any]) -> None:
    assert_same(validate_rows(SCHEMA, rows), validate_each_value(SCHEMA, rows))


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_any_rows_can_be_validated_and_their_messages_encoded(rows: list[Any]) -> None:
    validated = validate_rows(SCHEMA, rows)
    valid = validated.count - validated.invalid_rows
    assert validated.frame.numbers.shape == (valid, 5)
    assert validated.frame.codes.shape == (valid, 5)
    assert not np.isinf(validated.frame.numbers).any()
    messages = [error.message + (error.field or "") for error in validated.errors]
    messages += [warning.message for found in validated.warnings.values() for warning in found]
    "".join(messages).encode()
