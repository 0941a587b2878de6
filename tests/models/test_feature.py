"""A feature: its codes and dates, and the errors for an incorrectly edited feature."""

import json
from typing import Any

import pytest

from models.feature import bucket
from models.schema import FeatureSchema, SchemaError
from tests.models.income import AGE, DAY, HOT, SINCE, ZIP


def test_one_and_true_are_different_levels() -> None:
    assert ZIP.code(1) == ZIP.code(1.0) == 0
    assert HOT.code(True) == 1
    assert ZIP.problem(True) == ("wrong_type", "true is not a number, as the levels of this category are")
    assert HOT.problem(1) == ("wrong_type", "1 is not true or false, as the levels of this category are")


@pytest.mark.parametrize("text", ["8.3", "-2", "1e5", " 7 "])
def test_a_number_in_quotes_is_named_as_text(text: str) -> None:
    code, message = AGE.problem(text) or ("", "")
    assert (code, message) == ("wrong_type", f"{text!r} is text, not a number: send a number, in JSON without quotes")
    assert (ZIP.problem(text) or ("", ""))[1].endswith("send a number, in JSON without quotes")
    assert AGE.problem("8,3") == ("wrong_type", "'8,3' is not a number")


def test_dates_without_a_zone_are_utc_and_zones_are_applied() -> None:
    texts = ["2020-01-01T12:00", "2020-01-01T12:00Z", "2020-01-01T14:00+02:00", " 2020-01-01T12:00:00 "]
    assert {SINCE.parse_date(text) for text in texts} == {1577880000.0}
    assert DAY.parse_date("01.01.2020") == 1577836800.0


def test_hash_bucket_is_the_same_on_every_machine() -> None:
    assert bucket("x", 4096) == 0x8CDC1683 % 4096  # the CRC-32 of "x"
    assert bucket(1.0, 4096) == bucket(1, 4096)
    assert 0 <= bucket("\ud800", 64) < 64


@pytest.mark.parametrize(
    ("edit", "message"),
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
        ({"kind": "date", "date_format": "%d/%m/%Y", "maximum": "2020/01/01"}, "is not a date like %d/%m/%Y"),
        ({"kind": "category", "minimum": 1}, "a category has no minimum"),
        ({"kind": "boolean", "maximum": 1}, "a boolean has no maximum"),
        ({"kind": "category", "unseen": "error", "seen": {"hashed": 8}}, "are hashed"),
        ({"kind": "category", "seen": {"levels": [1, True]}}, "but true does not"),
        ({"kind": "category", "seen": {"levels": ["a", 1]}}, "but 1 does not"),
        ({"kind": "category", "seen": {"levels": [1, 2, 1.0]}}, "1 is listed twice"),
    ],
)
def test_inconsistent_feature_is_refused_in_one_line(edit: dict[str, Any], message: str) -> None:
    whole = json.loads(FeatureSchema(name="a", task="regression", target="y", features=[AGE]).to_json())
    whole["features"] = [{"name": "a", "kind": "number", "nullable": False} | edit]
    with pytest.raises(SchemaError) as refused:
        FeatureSchema.from_json(json.dumps(whole))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
