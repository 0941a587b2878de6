"""Text in messages."""

from typing import Any

from models.text import counted, nearest, render, truncate


def test_nearest_name_ignores_case() -> None:
    assert nearest("capital-gain", ["age", "Capital Gain"]) == "Capital Gain"
    assert nearest("zzz", ["age"]) is None
    assert nearest("x" * 100_000, ["age"]) is None


def test_noun_and_verb_agree_with_their_number() -> None:
    assert [counted(number, "row") for number in (0, 1, 2, 1234)] == ["0 rows", "1 row", "2 rows", "1234 rows"]
    assert [counted(number, "row", spec=",") for number in (1, 1234)] == ["1 row", "1,234 rows"]
    assert [counted(number, "request", spec="g") for number in (0.5, 1.0)] == ["0.5 requests", "1 request"]
    assert [counted(number, "entry is", "entries are") for number in (1, 2)] == ["1 entry is", "2 entries are"]


def test_values_in_messages_are_truncated_and_encodable() -> None:
    assert render("x" * 1000) == "'" + "x" * 60 + "…'"
    values: list[Any] = [True, None, 3, 2.5, 10**30, [1], {}]
    assert [render(value) for value in values] == [
        *("true", "null", "3", "2.5", "a very large integer", "an array", "an object"),
    ]
    assert truncate("\ud800") == "?"
