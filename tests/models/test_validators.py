"""Compiled validators recognise only valid rows, and read them as the general rules do."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.feature import UNSEEN, Feature
from models.rows import from_valid_rows, validate_each_value
from models.schema import FeatureSchema
from tests.models.income import GOOD, ROWS, SCHEMA, VALUES, assert_same


def encode_body_of_rows(*rows: Any) -> bytes:
    return json.dumps({"rows": rows}).encode()


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
def test_malicious_bodies_are_not_recognised(body: bytes) -> None:
    assert SCHEMA.validators.parse_body(body) is None


def test_valid_rows_with_all_value_types_are_recognised() -> None:
    row = GOOD | {"capital gain": None, "job": "cook", "zip": 2.5, "room": 1, "hot": False, "since": "2020-01-01"}
    assert SCHEMA.validators.parse_body(encode_body_of_rows(row, GOOD)) == [row, GOOD]


def test_integer_levels_above_float_precision_stay_distinct() -> None:
    rows = SCHEMA.validators.parse_body(encode_body_of_rows(GOOD | {"zip": 2**60 + 1}, GOOD | {"zip": 2**60}))
    assert rows is not None
    assert SCHEMA.frames.from_rows(rows).codes[:, 1].tolist() == [2, UNSEEN]


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_recognised_rows_are_valid_in_every_format(rows: list[Any]) -> None:
    body, validators = encode_body_of_rows(*rows), SCHEMA.validators
    recognised = {
        "body": validators.parse_body(body),
        "block": validators.parse_block(json.dumps([rows]).encode()),
        "lines": validators.parse_lines([json.dumps(row).encode() for row in rows]),
        "values": validators.validate_values(rows),
    }
    assert (recognised["body"] is None) == (recognised["block"] is None) == (recognised["lines"] is None)
    if recognised["body"] is not None:
        assert recognised["values"] is not None
    expected = validate_each_value(SCHEMA, rows)
    for valid in recognised.values():
        if valid is not None:
            assert_same(from_valid_rows(SCHEMA, valid), expected)


def numbers_schema(**limits: Any) -> FeatureSchema:
    features = [Feature(name=name, kind="number", nullable=False, **limits) for name in "nm"]
    return FeatureSchema(name="t", task="regression", target="y", features=features)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(
    "body",
    [
        '{"rows": [{"n": %s, "m": 2}]}',
        '{"rows": [{"n": 1, "m": 2}, {"n": 1, "m": %s}]}',
        '{"rows": [{"n": %s, "n": 1, "m": 2}]}',
        '{"rows": [{"n": 1, "m": 2, "y": %s}]}',
        '{"rows": [%s], "rows": [{"n": 1, "m": 2}]}',
        '{"rows": [{"n": 1, "m": 2}], "more": %s}',
    ],
)
def test_rows_of_only_numbers_with_nan_or_infinity_are_not_recognised(body: str, constant: str) -> None:
    schema, text = numbers_schema(), body % constant
    assert schema.validators.parse_body(text.encode()) is None
    if body.endswith("]}"):
        block = text.removeprefix('{"rows": ').removesuffix("}")
        assert schema.validators.parse_block(f"[{block}]".encode()) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("nmxy"), VALUES), min_size=1, max_size=4))
def test_rows_of_only_numbers_use_a_faster_validator_with_the_same_result(rows: list[Any]) -> None:
    free, limited = numbers_schema(), numbers_schema(minimum=-1e308)
    for schema in (free, limited):
        if (valid := schema.validators.parse_body(encode_body_of_rows(*rows))) is not None:
            assert_same(from_valid_rows(schema, valid), validate_each_value(schema, rows))
