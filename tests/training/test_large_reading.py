"""A large table that is read in batches from the disk has the same result as in memory."""

import gzip
import json
import os
import resource
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from backports import zstd

from tests.training.large.random_table import TARGET, write_table
from training import reading
from training.build_dataset import load_dataset
from training.bundled import bundled_options
from training.config import DataOptions
from training.dataset import Dataset
from training.errors import UsageError
from training.streaming import byte_source, large_reading
from training.streaming.spilled_frame import SpilledFrame, open_frame
from training.streaming.unnamed_file import UnnamedFile

Write = Callable[..., str]
ROWS, KEPT, BLOCK_BYTES = 3000, 500, 1 << 13


@pytest.fixture
def in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every file as large, and read it in small blocks."""
    monkeypatch.setattr(reading, "LARGE_BYTES", 0)
    monkeypatch.setattr(large_reading, "BLOCK_BYTES", BLOCK_BYTES)
    monkeypatch.setattr(byte_source, "HEAD_BYTES", 1 << 13)
    monkeypatch.setattr(byte_source, "CHUNK_BYTES", 1 << 13)


def read_both_ways(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, Dataset]:
    """The data set read in memory, and read in batches."""
    monkeypatch.setattr(reading, "LARGE_BYTES", 1 << 40)
    in_memory = load_dataset(options)
    monkeypatch.setattr(reading, "LARGE_BYTES", 0)
    return in_memory, load_dataset(options)


def assert_same(one: Dataset, other: Dataset) -> None:
    assert not isinstance(open_frame(one.schema, one.columns, one.rows_used), SpilledFrame)
    assert isinstance(open_frame(other.schema, other.columns, other.rows_used), SpilledFrame)
    for name in ("notices", "decisions", "fingerprint", "origin", "rows_read", "rows_used"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.schema.to_json() == other.schema.to_json()
    assert [*one.columns] == [*other.columns]
    for name, values in one.columns.items():
        pd.testing.assert_series_equal(pd.Series(values), pd.Series(other.columns[name]), check_names=False)
    np.testing.assert_array_equal(one.target, other.target)
    np.testing.assert_array_equal(one.row_numbers, other.row_numbers)


@pytest.mark.usefixtures("in_batches")
@pytest.mark.parametrize("name", ["housing", "penguins"])
def test_bundled_table_is_read_from_disk_as_in_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same(*read_both_ways(bundled_options(name), monkeypatch))


VARIED_TABLE = "id;when;amount;share;flag;city\n" + "".join(
    f"{row};{1 + row % 28:02d}.03.2024;{row % 7}.{row % 1000:03d},{row % 100:02d} €;{row % 90} %;"
    f"{['ja', 'nein'][row % 2]};{['Köln', 'Paris', '-', 'n/a'][row % 4]}\n"
    for row in range(1500)
)
TEXTS = {
    "units, decimal commas, dates and words": VARIED_TABLE.encode(),
    "another encoding": VARIED_TABLE.replace("€", "").encode("cp1252"),
    "a byte order mark": VARIED_TABLE.encode("utf-8-sig"),
    "two bytes per character": VARIED_TABLE.encode("utf-16"),
    "a few bytes of another encoding": VARIED_TABLE.encode().replace(b"Paris", b"M\xe2con", 3),
    "a footer": VARIED_TABLE.encode() + b"Summe;;\n",
    "a delimiter at the end of each line": VARIED_TABLE.replace("\n", ";\n").encode().replace(b"city;\n", b"city\n", 1),
    "a declared delimiter": b"sep=;\n" + VARIED_TABLE.encode(),
    "blanks before quotes": b'a, "b", y\n'
    + b"".join(b'%d, "x, %d", %d\n' % (row, row % 5, row % 91) for row in range(900)),
    "gzip": gzip.compress(VARIED_TABLE.encode(), mtime=0),
    "zstd": zstd.compress(VARIED_TABLE.encode()),
    "isolated cells": (VARIED_TABLE + "1500;01.03.2024;9.999.999.999,00 €;5 %;ja;Köln\n").encode(),
    "NDJSON": b"".join(
        json.dumps({"a": row % 50, "b": None if row % 9 else row / 3, "c": "xy"[row % 2], "y": row % 77}).encode()
        + b"\n"
        for row in range(900)
    ),
    "NDJSON with several types in a column": b"".join(
        json.dumps({"a": row if row % 2 else f"n{row % 4}", "b": row % 5, "y": row % 77 / 2}).encode() + b"\n"
        for row in range(900)
    ),
    "NDJSON with lists of several types": b"".join(
        json.dumps({"a": [row % 4, "x"], "b": row % 5, "y": row % 77 / 2}).encode() + b"\n" for row in range(900)
    ),
    "NDJSON with two bytes per character, some containing the byte of a line feed": "".join(
        json.dumps({"a": "ĊXY"[row % 3], "b": row % 5, "y": row % 77 / 2}, ensure_ascii=False) + "\n"
        for row in range(900)
    ).encode("utf-16"),
}


@pytest.mark.usefixtures("in_batches")
@pytest.mark.parametrize("name", TEXTS)
def test_text_file_is_read_from_disk_as_in_memory(name: str, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    target = "y" if name.startswith(("NDJSON", "blanks")) else "flag"
    path = write(TEXTS[name], "table.data")
    assert_same(*read_both_ways(DataOptions(data=path, target=target, name="t"), monkeypatch))


@pytest.mark.usefixtures("in_batches")
def test_parquet_file_is_read_from_disk_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "t.parquet", ROWS)
    assert_same(*read_both_ways(DataOptions(data=str(tmp_path / "t.parquet"), target=TARGET), monkeypatch))


@pytest.mark.usefixtures("in_batches")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3,4", r"row 2990 below the header .* \(line 2991, if none is blank\) has 4 cells, the header has 3"),
        ("1,2", r"line 2991.* has 2 cells"),
    ],
)
def test_the_line_of_a_bad_row_in_the_last_block_is_named(line: str, message: str, write: Write) -> None:
    rows = [f"{row},{row % 7},{row % 3}" for row in range(ROWS)]
    rows[2989] = line
    path = write("a,b,y\n" + "\n".join(rows) + "\n")
    assert Path(path).stat().st_size > 2 * BLOCK_BYTES
    with pytest.raises(UsageError, match=message):
        load_dataset(DataOptions(data=path, target="y"))


@pytest.mark.usefixtures("in_batches")
def test_invalid_ndjson_line_and_truncated_archive_are_named(write: Write) -> None:
    lines = [json.dumps({"a": row, "y": row % 9}) for row in range(2000)]
    lines[1998] = "{"
    with pytest.raises(UsageError, match=r"line 1999, is not valid JSON"):
        load_dataset(DataOptions(data=write("\n".join(lines), "t.ndjson"), target="y"))
    with pytest.raises(UsageError, match="gzip file that is cut off"):
        load_dataset(DataOptions(data=write(gzip.compress(VARIED_TABLE.encode())[:-20], "t.csv.gz"), target="flag"))


def test_pipe_is_read_only_once() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(b"amount,y\n" + b"".join(b"%d,%d\n" % (row % 7, row % 9) for row in range(100)))
    dataset = load_dataset(DataOptions(data=f"/dev/fd/{reader}", target="y", name="t", task="regression"))
    os.close(reader)
    assert (dataset.rows_read, [*dataset.columns]) == (100, ["amount"])


def test_a_temporary_file_is_written_completely_or_an_error_is_raised() -> None:
    temporary = UnnamedFile()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # has the effect of a full disk
    try:
        assert temporary.file.write(b"x" * 300) == 300
        with pytest.raises(OSError, match="too large"):
            temporary.file.write(b"x" * 300)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_files_of_a_folder_a_pattern_a_list_and_a_url_are_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    for number in range(3):
        rows = "".join(f"{row},{row % 7},{number + row % 13}\n" for row in range(100))
        (folder / f"part-{number}.csv").write_text("a,b,y\n" + rows)
    paths = [str(folder / f"part-{number}.csv") for number in range(3)]
    tables = [
        load_dataset(DataOptions(data=data, target="y", name="t", task="regression"))
        for data in (str(folder), str(folder / "*.csv"), ",".join(paths))
    ]
    assert [table.rows_read for table in tables] == [300] * 3
    assert tables[0].origin["files"] == 3
    assert tables[0].target[100] == tables[0].target[0] + 1
    (folder / "part-3.csv").write_text("a,c,y\n1,2,3\n")
    with pytest.raises(UsageError, match=r"part-3\.csv has no column 'b', but .*part-0\.csv has"):
        load_dataset(DataOptions(data=str(folder), target="y"))
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://parts/one.csv", "wb") as file:
        file.write(Path(paths[0]).read_bytes())
    assert load_dataset(DataOptions(data="memory://parts/*.csv", target="y", task="regression")).rows_read == 100


def test_a_query_of_sqlite_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table sales (amount real, city text, mixed)")
        rows: list[tuple[Any, ...]] = [
            (row / 4, ["Rome", "Oslo"][row % 2], row if row % 3 else "none") for row in range(200)
        ]
        connection.executemany("insert into sales values (?, ?, ?)", rows)
    data = f"sqlite:{path}?select amount, city, mixed from sales where amount > 5"
    dataset = load_dataset(DataOptions(data=data, target="amount", name="t"))
    assert (dataset.rows_read, dataset.schema.by_name["city"].kind) == (179, "category")
    assert load_dataset(DataOptions(data=f"sqlite:{path}", target="amount", name="t")).rows_read == 200
    for query, message in (
        ("select absent from sales", "no such column"),
        ("drop table sales", "readonly|not a query"),
    ):
        with pytest.raises(UsageError, match=message):
            load_dataset(DataOptions(data=f"sqlite:{path}?{query}", target="amount", name="t"))


def test_a_query_of_duckdb_is_a_table(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute("create table sales as select i / 4 as amount, 'c' || (i % 3) as city from range(200) t(i)")
    data = f"duckdb:{tmp_path}/shop.duckdb?select * from sales where amount > 5"
    assert load_dataset(DataOptions(data=data, target="amount", name="t")).rows_read == 179
    with pytest.raises(UsageError, match=r"cannot be read: .*missing"):
        load_dataset(DataOptions(data=data.replace("sales", "missing"), target="amount", name="t"))


def test_rows_beyond_the_limit_are_left_out_with_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "t.csv", 2 * KEPT)
    options = DataOptions(data=str(tmp_path / "t.csv"), target=TARGET, rows=str(KEPT))
    one, other = read_both_ways(options, monkeypatch)
    assert_same(one, other)
    assert f"{KEPT} of {2 * KEPT:,} rows are used, drawn at random by --seed: set by --rows" in one.notices
    few = load_dataset(DataOptions(data=str(tmp_path / "t.csv"), target=TARGET, memory=200_000))
    assert few.rows_used < KEPT
    assert any("do not fit into --memory; --rows overrides" in notice for notice in few.notices)
    assert load_dataset(DataOptions(data=options.data, target=TARGET, memory=200_000, rows="all")).rows_used == 2 * KEPT
    with pytest.raises(UsageError, match="--rows must be a number of rows, or all"):
        load_dataset(DataOptions(data=options.data, target=TARGET, rows="many"))
