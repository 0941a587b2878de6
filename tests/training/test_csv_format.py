"""The encoding, delimiter and header of a CSV file."""

from collections.abc import Callable

import pytest

from models.formats.csv_decoder import CsvDecoder
from tests.training.posting import assert_frame, decoded
from tests.training.tables import CSV, read_column
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.errors import UsageError
from training.reading import read_table

Write = Callable[..., str]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_encoding_is_recognised(write: Callable[..., str], encoding: str) -> None:
    path = write(("größe,b\n" + "süß,1\n" * 60).encode(encoding))
    assert read_column(path, "größe")[0] == "süß"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_recognised(write: Callable[..., str], delimiter: str) -> None:
    path = write(CSV.replace(",", delimiter))
    assert read_table(DataOptions(data=path)).names == ["x", "y", "colour"]


def test_a_semicolon_table_with_decimal_commas_is_not_read_as_a_comma_table(write: Callable[..., str]) -> None:
    assert read_table(DataOptions(data=write("a;b\n1,5;2,5\n3,5;4,5\n"))).names == ["a", "b"]


def test_a_delimiter_can_be_specified(write: Callable[..., str]) -> None:
    assert read_column(write("a b\n1 2\n"), "b", delimiter=" ") == ["2"]
    assert read_column(write("a\tb\n1\t2\n"), "b", delimiter="tab") == ["2"]


def test_quoted_commas_quotes_and_line_ends_belong_to_the_cell(write: Callable[..., str]) -> None:
    path = write('"a, b",c\r\n"x, ""y""\r\nz",1\r\n')
    assert read_column(path, "a, b") == ['x, "y"\r\nz']


def test_a_quoted_line_end_in_the_header_belongs_to_the_name(write: Callable[..., str]) -> None:
    assert read_table(DataOptions(data=write('"a\nb",c\n1,2\n'))).names == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("t status\n35 0\n34 1\n", "use --delimiter ' '"),
        ("  id  status\n   9       0\n  11       1\n", "aligned by blanks: write one delimiter"),
        ("a sentence\nthen another of five words\nx\n", "another delimiter?"),
    ],
)
def test_blanks_between_cells_are_reported_with_a_hint(write: Write, content: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        read_table(DataOptions(data=write(content)))


@pytest.mark.parametrize(
    "content",
    [
        "Sat, 22 Apr 2017 15:11:58 -0500\nFri, 21 Apr 2017 14:20:57 -0500\n",
        "2024-01-01,5\n2024-01-02,6\n",
        "7,31.12.2023\n8,30.12.2023\n",
    ],
)
def test_a_date_above_dates_is_not_a_column_name(write: Write, content: str) -> None:
    with pytest.raises(UsageError, match=r"must contain the column names, but '.*' looks like data"):
        read_table(DataOptions(data=write(content)))


@pytest.mark.parametrize("content", ["2024-01-01,2024-01-02\n5,6\n", "x1,a\ny2,b\n", "2023,2024\n1999,2001\n"])
def test_dates_above_other_cells_are_column_names(write: Write, content: str) -> None:
    assert len(read_table(DataOptions(data=write(content))).names) == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_blanks_before_cells_in_quotes_are_removed(write: Write, delimiter: str) -> None:
    lines = ['"name", "place", "y"', *(f'"Bolt, {row}",  "Rome ""{row % 3}""", {row}' for row in range(60))]
    content = "\n".join(line.replace(", ", f"{delimiter} ").replace(f"Bolt{delimiter}", "Bolt,") for line in lines)
    dataset = load_dataset(DataOptions(data=write(content), target="y"))
    assert dataset.schema.by_name["place"].seen.levels == ['Rome "0"', 'Rome "1"', 'Rome "2"']
    assert_frame(decoded(CsvDecoder, dataset.schema, content.encode()), dataset, "CSV")


def test_quotes_within_a_cell_do_not_delimit_cells(write: Write) -> None:
    content = "name,y\n" + "".join(f'"Smith, ""Bob"" {row}",3\n' for row in range(60))
    table = read_table(DataOptions(data=write(content)))
    assert table.notices == []
    assert table.columns[0][0].as_py() == 'Smith, "Bob" 0'


def test_quotes_escaped_by_backslashes_are_read(write: Write) -> None:
    content = '"name", "y"\n' + '"H. \\"Barney\\" Ewell", 3\n' * 60
    assert set(read_column(write(content), "name")) == {'H. "Barney" Ewell'}
