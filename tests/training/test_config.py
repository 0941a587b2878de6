"""Options from text."""

from training.config import parse_names


def test_list_of_names_may_contain_quoted_commas() -> None:
    assert parse_names('id, "last, first" ,x') == ("id", "last, first", "x")
