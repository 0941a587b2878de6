"""The encoding, delimiter and header of a CSV file."""

from collections.abc import Callable

import pytest

from tests.training.tables import CSV, read_column
from training.config import DataOptions
from training.reading import read_table


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_encoding_is_recognised(write: Callable[..., str], encoding: str) -> None:
    path = write(("größe,b\n" + "süß,1\n" * 60).encode(encoding))
    assert read_column(path, "größe")[0] == "süß"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_recognised(write: Callable[..., str], delimiter: str) -> None:
    path = write(CSV.replace(",", delimiter))
    assert read_table(DataOptions(data=path)).names == ["x", "y", "colour"]


def test_a_semicolon_table_with_decimal_commas_is_not_taken_for_a_comma_table(write: Callable[..., str]) -> None:
    assert read_table(DataOptions(data=write("a;b\n1,5;2,5\n3,5;4,5\n"))).names == ["a", "b"]


def test_a_delimiter_can_be_specified(write: Callable[..., str]) -> None:
    assert read_column(write("a b\n1 2\n"), "b", delimiter=" ") == ["2"]
    assert read_column(write("a\tb\n1\t2\n"), "b", delimiter="tab") == ["2"]


def test_quoted_commas_quotes_and_line_ends_belong_to_the_cell(write: Callable[..., str]) -> None:
    path = write('"a, b",c\r\n"x, ""y""\r\nz",1\r\n')
    assert read_column(path, "a, b") == ['x, "y"\r\nz']


def test_a_quoted_line_end_in_the_header_belongs_to_the_name(write: Callable[..., str]) -> None:
    assert read_table(DataOptions(data=write('"a\nb",c\n1,2\n'))).names == ["a\nb", "c"]
