"""All valid JSON texts are parsed, and no others."""

import math

import pytest

from models.json_text import MAX_DEPTH, JsonError, parse


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"[1,]", b'"\\ud800"', b"\xff", b"[" * 100_000, b"-Infinity"])
def test_invalid_json_gives_an_error_with_a_reason(text: bytes) -> None:
    with pytest.raises(JsonError):
        parse(text)


def test_integers_above_the_float_range_are_parsed_as_infinity() -> None:
    assert parse(b"9" * 400) == int("9" * 400)
    assert parse(b"[" + b"9" * 5000 + b"]") == [math.inf]


@pytest.mark.parametrize("number", [b"1", b"9" * 5000])
def test_nesting_has_the_same_limit_for_all_numbers(number: bytes) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        parse(opening * MAX_DEPTH + number + closing * MAX_DEPTH)
        with pytest.raises(JsonError, match="recursion limit exceeded"):
            parse(opening * (MAX_DEPTH + 1) + number + closing * (MAX_DEPTH + 1))


def test_nan_and_infinity_are_parsed_if_the_protocol_allows_them() -> None:
    nan, infinite = parse(b"[NaN, -Infinity]", constants=True)
    assert math.isnan(nan)
    assert infinite == -math.inf
