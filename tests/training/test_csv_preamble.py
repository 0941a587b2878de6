"""Lines around a CSV table are left out if only one reading is possible; otherwise the error names a flag."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.formats.csv_decoder import CsvDecoder
from models.schema import FeatureSchema
from service.protocols import invocations
from tests.training.posting import assert_frame, decoded
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.errors import UsageError
from training.raw_table import RawTable
from training.reading import read_table

CASES = Path(__file__).parent / "cases"
ROWS = "".join(f"{row};{row % 7};{row / 4}\n" for row in range(60))
Write = Callable[..., str]


def read(path: str, skip_rows: int = 0, comment: str | None = None, delimiter: str | None = None) -> RawTable:
    return read_table(DataOptions(data=path, skip_rows=skip_rows, comment=comment, delimiter=delimiter))


def test_sep_line_of_excel_sets_the_delimiter() -> None:
    table = read(str(CASES / "f17_sep_line.csv"))
    assert table.names == ["x", "z", "y"]
    assert any("the first line declares the delimiter ';'" in notice for notice in table.notices)


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_all_notations_of_the_sep_line_are_read(write: Write, line: str) -> None:
    assert (read(write(line + "x;z;y\n" + ROWS)).names, read(write(line + "x;z;y\n" + ROWS)).rows) == (list("xzy"), 60)


def test_a_delimiter_at_the_end_of_each_row_is_ignored() -> None:
    table = read(str(CASES / "f17_trailing_delimiter.csv"))
    assert (table.names, table.rows, len(table.columns)) == (["x", "z", "y"], 60, 3)
    assert any("each row ends with a ','" in notice for notice in table.notices)


@pytest.mark.parametrize("end", [";\n", "; \n", ";\r\n"])
def test_delimiter_before_any_line_end_is_ignored(write: Write, end: str) -> None:
    assert read(write("x;z;y\n" + ROWS.replace("\n", end))).rows == 60


def test_a_cell_after_the_last_delimiter_is_read(write: Write) -> None:
    with pytest.raises(UsageError, match="'7' there; the header has 3 cells"):
        read(write("x;z;y\n" + ROWS.replace("\n", ";\n") + "1;2;3;7\n"))


@pytest.mark.parametrize(
    ("above", "message"),
    [
        ("Report of March\n", "begin in line 2: use --skip-rows 1"),
        ("Report\n\nTurnover, by week\n", "begin in line 4: use --skip-rows 3"),
        ("# made by a tool\n", "use --comment '#'"),
        ("% made by a tool\n% in 2024\n", "use --comment '%'"),
    ],
)
def test_lines_above_the_header_are_reported_with_a_flag(write: Write, above: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(write(above + "x;z;y\n" + ROWS))


@pytest.mark.parametrize("above", ["Report of March\n", "Report\r\n\r\n", 'sep=;\n"a ""title"" of\n'])
def test_lines_above_the_header_are_skipped(write: Write, above: str) -> None:
    table = read(write(above + "x;z;y\n" + ROWS), skip_rows=above.count("\n"))
    assert (table.names, table.rows) == (["x", "z", "y"], 60)
    assert table.origin["skipped_lines"] == above.count("\n")


def test_comments_are_ignored_at_any_place_and_keep_line_numbers(write: Write) -> None:
    content = "# one\nx;z;y\n# two; three\n" + ROWS + "  # four\n"
    assert read(write(content), comment="#").rows == 60
    with pytest.raises(UsageError, match="row 61 below the header"):
        read(write(content + "1;2;3;4\n"), comment="#")


@pytest.mark.parametrize(
    ("above", "within", "flags"),
    [
        ("Report; of March\n\n", "", {"skip_rows": 2}),
        ("sep=;\nReport\n", "", {"skip_rows": 2}),
        ("# Report\n", "# half\n", {"comment": "#"}),
        ("Report\n// more\n", "  // half; of it\n", {"skip_rows": 1, "comment": "//"}),
    ],
)
def test_file_with_extra_lines_can_be_posted_and_read_by_its_schema(
    write: Write, tmp_path: Path, above: str, within: str, flags: dict[str, Any]
) -> None:
    content = above + "x;z;y\n" + within + ROWS.replace("\n", "\n" + within, 3)
    dataset = load_dataset(DataOptions(data=write(content), target="y", **flags))
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    for body in (content, "x;z;y\n" + ROWS):
        assert_frame(decoded(CsvDecoder, schema, body.encode()), dataset, "CSV")
        lines = invocations.with_header(schema, invocations.decode_text(schema, body.encode(), None))
        assert_frame(invocations.read_csv(schema, lines, 1000).validate(schema), dataset, "invocations")
    stored = tmp_path / "features.json"
    stored.write_text(schema.to_json())
    again = load_dataset(DataOptions(data=write(content), schema=str(stored)))
    assert again.schema == schema


def test_a_comment_mark_without_comments_is_not_stored(write: Write) -> None:
    assert load_dataset(DataOptions(data=write("x;z;y\n" + ROWS), target="y", comment="#")).schema.format == 1


@pytest.mark.parametrize(("skip_rows", "comment", "message"), [(-1, None, "0 or more"), (999, None, "leaves nothing")])
def test_flags_out_of_range_are_rejected(write: Write, skip_rows: int, comment: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(write("x;z;y\n" + ROWS), skip_rows, comment)


@pytest.mark.parametrize("footer", ["Source: a register\n", "\nEnd\n", "60 rows\nSource; a register\n"])
def test_shorter_lines_at_the_end_are_left_out_with_a_notice(write: Write, footer: str) -> None:
    table = read(write("x;z;y\n" + ROWS + footer))
    assert table.rows == 60
    assert any("left out because" in notice and "fewer cells" in notice for notice in table.notices)


@pytest.mark.parametrize("line", ["1;2\n", "1;2;3;4\n"])
def test_a_ragged_line_within_the_rows_is_rejected(write: Write, line: str) -> None:
    with pytest.raises(UsageError, match=f"row 61 below the header .*has {line.count(';') + 1} cells"):
        read(write("x;z;y\n" + ROWS + line + "7;8;9\n"))


def test_row_names_without_a_column_name_get_a_hint(write: Write) -> None:
    with pytest.raises(UsageError, match="write a name for the first column"):
        read(write("x;z;y\n" + "".join(f"r{row};1;2;3\n" for row in range(60))))


@pytest.mark.parametrize("names", ["34,M,Paris", "1,1,2", "2020-01-01,5,x"])
def test_a_file_without_a_header_gets_a_hint(write: Write, names: str) -> None:
    with pytest.raises(UsageError, match="a file without a header"):
        load_dataset(DataOptions(data=write(names + "\n" + "5,F,Rome\n" * 60), target="city"))
