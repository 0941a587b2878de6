"""A name that occurs twice in a JSON object is found anywhere in a text, and no other text is reported."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import repeated_names
from models.feature import Feature, TrainingRange
from models.formats.ndjson_decoder import LineBlock
from models.repeated_names import mark_repeated_names, may_repeat, parse_marked
from models.schema import FeatureSchema
from service.protocols import native

ROW = b'{"a":1,"when":"12:30","x y":"say \\":"}'
Pairs = list[tuple[str, Any]]
NAMES = st.sampled_from(["a", "b", "", "a:", 'a"', "ä", "a\\"])
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(':" \\a', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=3).map(tuple),
    max_leaves=12,
)
"""JSON values; a tuple of pairs represents an object."""


def written(value: Any, colon: str) -> str:
    if isinstance(value, tuple):
        return "{" + ",".join(json.dumps(name) + colon + written(inner, colon) for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(inner, colon) for inner in value) + "]"
    return json.dumps(value)


def repeating(value: Any) -> bool:
    if isinstance(value, tuple):
        return len({name for name, _ in value}) < len(value) or any(repeating(inner) for _, inner in value)
    return isinstance(value, list) and any(map(repeating, value))


@given(VALUES, st.sampled_from([":", " :", ": ", "\n:\t"]))
def test_repeated_name_is_found_in_any_object_of_a_text(value: Any, colon: str) -> None:
    text = written(value, colon).encode()
    assert (mark_repeated_names(text, json.loads(text)) is not None) == repeating(value)


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        (b'{"a":1}', 1, False),
        (b'{"a":1,"a":1}', 1, True),
        (b'{"a":"12:30:00"}', 1, False),
        (b'{"a" :"12:30"}', 1, True),  # counting cannot decide
        (b'{"a":"\\":"}', 1, True),
    ],
)
def test_most_texts_are_decided_by_counting_names_and_colons(text: bytes, names: int, expected: bool) -> None:
    assert may_repeat(text, names) == expected
    padding = b" " * repeated_names.LONG_BYTES  # the colons of long texts are counted by other code
    assert may_repeat(text + padding, names) == expected
    assert (mark_repeated_names(text, json.loads(text)) is not None) == (text.count(b'"a"') > 1)


def test_objects_with_repeated_names_are_marked() -> None:
    assert parse_marked(b'[{"a":1,"b":{"c":1,"c":2}}]') == [{"a": None, "b": repeated_names.RepeatedName("c")}]


@pytest.fixture
def schema() -> FeatureSchema:
    number = Feature(name="a", kind="number", nullable=True, seen=TrainingRange(min=0, max=10))
    text = Feature(name="when", kind="category", nullable=True, seen=TrainingRange(levels=["12:30"]))
    return FeatureSchema(name="x", task="regression", target="y", features=[number, text])


GOOD, TWICE = b'{"a":1,"when":"12:30"}', b'{"a":1,"when":"12:30","a":2}'
MESSAGE = "row 1: the field 'a' occurs more than once"


@pytest.mark.parametrize("good", [GOOD, GOOD.replace(b":1", b" : 1"), b'{"when":"\\"a\\":"}', b"{}"])
def test_only_the_row_with_a_repeated_column_is_invalid(schema: FeatureSchema, good: bytes) -> None:
    body = b'{"rows":[%b,%b,%b]}' % (good, TWICE, good)
    large = b'{"rows":[%b]}' % b",".join([good, TWICE, *[good] * (300_000 // len(good))])
    for found in (
        native.validate_body(schema, body, "skip", 10),
        native.validate_body(schema, large, "skip", 10**6),
        LineBlock([good, TWICE, good]).validate(schema),
    ):
        assert [(error.row, error.code, error.message) for error in found.errors] == [(1, "repeated_field", MESSAGE)]
        assert found.invalid_rows == 1
