"""Text in messages."""

from typing import Any

from models.text import nearest, render, truncate


def test_nearest_name_ignores_case() -> None:
    assert nearest("capital-gain", ["age", "Capital Gain"]) == "Capital Gain"
    assert nearest("zzz", ["age"]) is None
    assert nearest("x" * 100_000, ["age"]) is None


def test_values_in_messages_are_truncated_and_encodable() -> None:
    assert render("x" * 1000) == "'" + "x" * 60 + "…'"
    values: list[Any] = [True, None, 3, 2.5, 10**30, [1], {}]
    assert [render(value) for value in values] == [
        *("true", "null", "3", "2.5", "a very large integer", "an array", "an object"),
    ]
    assert truncate("\ud800") == "?"
