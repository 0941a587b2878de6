"""A table has equal columns in every format that training reads, and unreadable files have a one-line error."""

import io
import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.feather as arrow_feather
import pyarrow.parquet as arrow_parquet
import pytest

from training.build_dataset import load_dataset
from training.config import DataOptions
from training.errors import UsageError
from training.raw_table import RawTable
from training.reading import read_table

CASES = Path(__file__).parent / "cases"
FRAME = pd.DataFrame(
    {
        "x": [row * 0.5 for row in range(60)],
        "n": [*range(60)],
        "shop": ["north", "süd", None] * 20,
        "paid": [True, False, True] * 20,
        "day": pd.date_range("2024-01-01", periods=60).astype(str),
        "y": [row * 1.5 for row in range(60)],
    }
)
Write = Callable[..., str]


def arrow(open_format: Callable[..., Any]) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pandas(FRAME)
    with open_format(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def feather(version: int) -> bytes:
    sink = io.BytesIO()
    arrow_feather.write_feather(FRAME, sink, version=version)
    return sink.getvalue()


def parquet() -> bytes:
    sink = io.BytesIO()
    FRAME.to_parquet(sink)
    return sink.getvalue()


def excel(frame: pd.DataFrame = FRAME, **options: Any) -> bytes:
    sink = io.BytesIO()
    frame.to_excel(sink, index=False, **options)
    return sink.getvalue()


def wrapped(key: str) -> bytes:
    return json.dumps({key: json.loads(FRAME.to_json(orient="records"))}).encode()


FORMATS: dict[str, Callable[[], bytes]] = {
    "CSV": lambda: FRAME.to_csv(index=False).encode(),
    "Parquet": parquet,
    "Feather 2": lambda: feather(2),
    "Arrow stream": lambda: arrow(pa.ipc.new_stream),
    "Arrow file": lambda: arrow(pa.ipc.new_file),
    "Excel": excel,
    "NDJSON": lambda: FRAME.to_json(orient="records", lines=True).encode(),
    "JSON records": lambda: FRAME.to_json(orient="records").encode(),
    "JSON columns": lambda: FRAME.to_json(orient="columns").encode(),
    "JSON index": lambda: FRAME.to_json(orient="index").encode(),
    "JSON split": lambda: FRAME.to_json(orient="split").encode(),
    "JSON table": lambda: FRAME.to_json(orient="table").encode(),
    "JSON of lists": lambda: json.dumps(FRAME.astype(object).where(FRAME.notna(), None).to_dict("list")).encode(),
    "JSON rows": lambda: wrapped("rows"),
    "JSON with a byte order mark": lambda: b"\xef\xbb\xbf" + FRAME.to_json(orient="records").encode(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_table_in_any_format_gives_the_same_data_set(write: Write, name: str) -> None:
    expected = load_dataset(DataOptions(data=write(FORMATS["CSV"](), "t.csv"), target="y"))
    dataset = load_dataset(DataOptions(data=write(FORMATS[name](), "t.data"), target="y"))
    kinds = {feature.name: feature.kind for feature in dataset.schema.features}
    assert kinds == {"x": "number", "shop": "category", "paid": "boolean", "day": "date"}
    for column, values in expected.columns.items():
        assert (
            dataset.columns[column].tolist() == pytest.approx(values.tolist())
            if kinds[column] == "number"
            else (dataset.columns[column].tolist() == values.tolist())
        )
    assert dataset.target.tolist() == expected.target.tolist()
    assert dataset.origin["format"].split()[0] in name.replace("Feather", "Arrow")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "CSV"])
def test_a_file_that_is_cut_off_is_rejected_in_one_line(write: Write, name: str) -> None:
    content = FORMATS[name]()
    ends = [len(content) // 2, len(content) - 3] if name != "Excel" else [len(content) // 2]
    for end in ends:
        with pytest.raises(UsageError) as caught:
            read_table(DataOptions(data=write(content[:end])))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "no rows"),
        (b"{}", "no rows"),
        (b"[1, 2]", "its row 1 is 1, not an object"),
        (b"[[1, 2], [3, 4]]", "no column names"),
        (b'{"a": [1, 2], "b": [1]}', "column 'b' has 1 value, 'a' has 2"),
        (b'{"columns": ["a"], "data": [[1], [1, 2]]}', "row 2 of 'data'"),
        (b'{"a": 1}\n{"a": 2\n', "line 2, is not valid JSON"),
        (b"[" * 100_000, "JSON"),
        (b"FEA1 and then nothing", "Feather format that cannot be read"),
        (b"ARROW1 and then nothing", "Arrow format that cannot be read"),
        (b"\xff\xff\xff\xff\x10\0\0\0nothing", "Arrow format that cannot be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel workbook: save it as .xlsx"),
    ],
)
def test_a_file_without_a_table_is_rejected_in_one_line(write: Write, content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_table(DataOptions(data=write(content)))


def workbook(*sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    for number, rows in enumerate(sheets):
        sheet = book.active if number == 0 else book.create_sheet()
        for row in rows:
            sheet.append(row)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def column(table: RawTable, name: str) -> list[Any]:
    return list(table.columns[table.names.index(name)].to_pylist())


def test_excel_cells_of_several_types_are_read_as_text(write: Write) -> None:
    first, second = datetime(2024, 1, 1), datetime(2024, 1, 2)
    rows: list[list[Any]] = [["a", "b", "c"], [1, True, first], ["n/a", 2, None], [2.5, "#N/A", second]]
    table = read_table(DataOptions(data=write(workbook(rows))))
    assert column(table, "a") == ["1", "n/a", "2.5"]
    assert column(table, "b") == ["true", "2", None]
    assert column(table, "c") == [first, None, second]
    assert not table.typed


def test_titles_blank_rows_and_other_sheets_of_excel_are_skipped(write: Write) -> None:
    sheet: list[list[Any]] = [["Report"], [], ["a", "b"], [1, 2], [], [3, 4]]
    path = write(workbook([], sheet, [["other", "sheet"], [1, 2]]))
    with pytest.raises(UsageError, match="--skip-rows N"):
        read_table(DataOptions(data=path))
    table = read_table(DataOptions(data=path, skip_rows=1))
    assert (column(table, "a"), column(table, "b")) == ([1, 3], [2, 4])
    assert "sheet 'Sheet1' is read, not 'Sheet2'" in table.notices[0]


@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        ([], "without cells"),
        ([["a", "b"]], "no rows"),
        ([["a", "a"], [1, 2]], "2 columns with the name 'a'"),
        ([["a", "b"], [1, 2, 3]], "cells without a column name"),
    ],
)
def test_excel_sheets_without_a_table_are_rejected(write: Write, sheet: list[list[Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_table(DataOptions(data=write(workbook(sheet))))


def test_a_sheet_with_a_single_distant_cell_takes_little_memory(write: Write) -> None:
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "a", 1
    sink = io.BytesIO()
    book.save(sink)
    with pytest.raises(UsageError, match="at least two"):
        read_table(DataOptions(data=write(sink.getvalue())))


def test_whole_decimals_are_exact() -> None:
    dataset = load_dataset(DataOptions(data=str(CASES / "f19_decimal_ids.parquet"), target="y", categorical=("shop",)))
    levels = dataset.schema.by_name["shop"].seen.levels
    assert levels == list(range(9007199254740992, 9007199254740999))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([Decimal(2**63 - 1), None], [2**63 - 1, None]),
        ([Decimal(10**30), Decimal(10**30 + 1)], [str(10**30), str(10**30 + 1)]),
        ([Decimal("1.50"), Decimal("2.25")], [Decimal("1.50"), Decimal("2.25")]),
    ],
)
def test_decimals_of_parquet_keep_their_value(write: Write, cells: list[Any], expected: list[Any]) -> None:
    sink = io.BytesIO()
    arrow_parquet.write_table(pa.table({"a": cells}), sink)
    assert column(read_table(DataOptions(data=write(sink.getvalue()))), "a") == expected
