"""A schema is written as JSON, can be edited by a person, and is read again."""

import json
from typing import Any

import pytest

from models.schema import FeatureSchema, SchemaError
from tests.models.income import FEATURES, SCHEMA


def test_schema_is_equal_after_writing_and_reading() -> None:
    again = FeatureSchema.from_json(SCHEMA.to_json())
    assert again == SCHEMA
    assert again.to_json() == SCHEMA.to_json()
    assert again.by_name["zip"].positions == {1: 0, 2.5: 1, 2**60 + 1: 2}
    assert [type(level) for level in again.by_name["hot"].seen.levels or []] == [bool, bool]


def test_schema_json_has_integers_without_a_point_and_one_feature_per_line() -> None:
    lines = SCHEMA.to_json().splitlines()
    assert '"minimum": 0, "maximum": 120' in lines[2]
    assert '"seen": {"min": 17, "max": 90}' in lines[2]
    assert [line.strip()[:9] for line in lines[2 : 2 + len(FEATURES)]] == ['{"name": '] * len(FEATURES)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"format": 3}, "format"),
        ({"target_cells": {"decimal": ","}}, "needs format 2"),
        ({"format": 2, "target_cells": {"decimal": ",", "thousands": ","}}, "both the decimal mark and the thousands"),
        ({"task": "guess"}, "task"),
        ({"name": "Income"}, "name"),
        ({"name": "a" * 42}, "name"),
        ({"colour": 1}, "colour"),
        ({"classes": None}, "a classification has classes"),
        ({"classes": ["a"]}, "does not have 1 class"),
        ({"classes": ["a", "b", "c"]}, "does not have 3 classes"),
        ({"classes": [1, 1.0]}, "distinct"),
        ({"classes": [0, False]}, "distinct"),
        ({"classes": [1, "1"]}, "of one type"),
        ({"features": []}, "features"),
        ({"target": "age"}, "'age' is named twice"),
        ({"ignored": [{"name": "age", "reason": ""}]}, "'age' is named twice"),
    ],
)
def test_inconsistent_schema_is_refused_in_one_line(edit: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError) as refused:
        FeatureSchema.from_json(json.dumps(json.loads(SCHEMA.to_json()) | edit))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}'])
def test_invalid_schema_json_raises_a_schema_error(text: str) -> None:
    with pytest.raises(SchemaError):
        FeatureSchema.from_json(text)
