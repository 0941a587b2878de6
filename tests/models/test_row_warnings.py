"""Values outside the range seen and unseen levels get a warning."""

from typing import Any

from models.row_warnings import find_warnings
from tests.models.income import GOOD, SCHEMA


def warned(**values: Any) -> list[tuple[str, str]]:
    row = GOOD | values
    found = find_warnings(SCHEMA, SCHEMA.frames.from_rows([row]), [row])
    return [(warning.field, warning.code) for warning in found.get(0, [])]


def test_values_outside_the_training_range_get_warnings() -> None:
    assert warned(age=100) == [("age", "outside_seen")]
    assert warned(since="1995-01-01") == [("since", "outside_seen")]
    assert warned(job="pilot", zip=7) == [("job", "unseen_level"), ("zip", "unseen_level")]


def test_values_in_range_missing_values_and_later_dates_get_no_warning() -> None:
    assert warned(age=90, since="2999-01-01", job=None, zip=1.0, user="nobody") == []


def test_warning_names_value_and_range_for_rows_and_columns() -> None:
    row = GOOD | {"age": 100.5, "since": "1995-01-01", "job": "pilot"}
    frame = SCHEMA.frames.from_rows([row])
    assert [warning.message for warning in find_warnings(SCHEMA, frame, [row])[0]] == [
        "feature 'age': 100.5 is outside 17..90, the range seen in training",
        "feature 'since': '1995-01-01' is outside 1999-01-04..2024-05-31, the range seen in training",
        "feature 'job': 'pilot' is a level never seen in training",
    ]
    assert [warning.message for warning in find_warnings(SCHEMA, frame)[0]][1:] == [
        "feature 'since': '1995-01-01' is outside 1999-01-04..2024-05-31, the range seen in training",
        "feature 'job': holds a level never seen in training",
    ]
