"""Tables are read as they come, or refused in one line; splits are honest."""

import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as arrow_parquet
import pytest

from training import columns, data
from training.config import DataOptions, names_in
from training.errors import UsageError

LINES = "".join(f"{row},{row * 7 % 13 / 4},{['red', 'blue'][row % 2]}\n" for row in range(60))
CSV = "x,y,colour\n" + LINES


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], str]:
    def written(content: str | bytes, name: str = "trips.csv") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return written


def read_column(path: str, name: str, **options: Any) -> list[Any]:
    table = data.read(DataOptions(data=path, **options))
    return table.columns[table.names.index(name)].to_pylist()  # type: ignore[no-any-return]


def test_a_csv_is_read_as_text(write: Callable[..., str]) -> None:
    assert read_column(write(CSV), "x")[:3] == ["0", "1", "2"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_encoding_is_recognised(write: Callable[..., str], encoding: str) -> None:
    path = write(("größe,b\n" + "süß,1\n" * 60).encode(encoding))
    assert read_column(path, "größe")[0] == "süß"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_recognised(write: Callable[..., str], delimiter: str) -> None:
    path = write(CSV.replace(",", delimiter))
    assert data.read(DataOptions(data=path)).names == ["x", "y", "colour"]


def test_a_semicolon_table_with_decimal_commas_is_not_taken_for_a_comma_table(write: Callable[..., str]) -> None:
    assert data.read(DataOptions(data=write("a;b\n1,5;2,5\n3,5;4,5\n"))).names == ["a", "b"]


def test_a_delimiter_may_be_said(write: Callable[..., str]) -> None:
    assert read_column(write("a b\n1 2\n"), "b", delimiter=" ") == ["2"]
    assert read_column(write("a\tb\n1\t2\n"), "b", delimiter="tab") == ["2"]


def test_quoted_commas_quotes_and_line_ends_belong_to_the_cell(write: Callable[..., str]) -> None:
    path = write('"a, b",c\r\n"x, ""y""\r\nz",1\r\n')
    assert read_column(path, "a, b") == ['x, "y"\r\nz']


def test_a_quoted_line_end_in_the_header_belongs_to_the_name(write: Callable[..., str]) -> None:
    assert data.read(DataOptions(data=write('"a\nb",c\n1,2\n'))).names == ["a\nb", "c"]


def test_gzip_is_recognised_by_its_content(write: Callable[..., str]) -> None:
    assert len(read_column(write(gzip.compress(CSV.encode()), "table.data"), "x")) == 60


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(CSV.encode())))
    assert len(read_column("-", "x")) == 60


def test_the_fingerprint_is_that_of_the_file(write: Callable[..., str]) -> None:
    one, two = (data.read(DataOptions(data=write(CSV + end))).fingerprint for end in ("", "1,2,red\n"))
    assert len(one) == 64
    assert one != two


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (gzip.compress(b""), "is empty"),
        (gzip.compress(CSV.encode())[:-20], "cut off"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 9, "not a table"),
        (b"PK\x03\x04\x14\0\0\0" + bytes(900), "ZIP"),
        (b"PAR1 and then nothing", "Parquet"),
        (b'{"rows": [1, 2]}', "JSON"),
        (b"only\none\ncolumn\n", "one column"),
        (b"Dear sir, dear madam\nthis is a letter\nof three lines\n", "not a table"),
        (b"a,b,a\n1,2,3\n", "2 columns of the name 'a'"),
        (b"a,,\n1,2,3\n", "2 columns without a name"),
        (b"a,b\n", "no rows"),
        (b"5.1,3.5,setosa\n4.9,3.0,setosa\n", "column names"),
        (b"a,b\n1,2\n3,4,5\n6,7\n8,9\n", "row 2 below the header .*line 3.* has 3 cells, the header has 2"),
        (b"a,b\n1,2\n3\n6,7\n8,9\n", "has 1 cells"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(write: Callable[..., str], content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        data.read(DataOptions(data=write(content)))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told_with_the_nearest_name(write: Callable[..., str]) -> None:
    path = write(CSV)
    with pytest.raises(UsageError, match=r"did you mean 'trips\.csv'"):
        data.read(DataOptions(data=path.replace("trips", "trip")))


def test_a_folder_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        data.read(DataOptions(data=str(tmp_path)))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("trips.csv", "trips"),
        ("/tmp/My Trips (2024).csv.gz", "my_trips_2024"),
        ("2024-trips.parquet", "table_2024_trips"),
        ("-", "table"),
        ("x" * 60 + ".csv", "x" * 41),
    ],
)
def test_a_model_is_named_after_its_file(path: str, name: str) -> None:
    assert data.check_name(data.model_name(path)) == name


def test_a_bad_model_name_is_refused_with_a_proposal() -> None:
    with pytest.raises(UsageError, match="try 'my_model'"):
        data.check_name("My-Model")


def test_a_list_of_names_may_hold_quoted_commas() -> None:
    assert names_in('id, "last, first" ,x') == ("id", "last, first", "x")


@pytest.mark.parametrize("name", sorted(data.BUNDLED))
def test_a_bundled_table_is_split_without_overlap(name: str) -> None:
    options = data.bundled_options(name)
    dataset = columns.load(options)
    parts = data.split(dataset, options)
    whole = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(whole.tolist()) == list(range(dataset.rows_used))
    frame = dataset.schema.frames.from_columns(dataset.columns)
    assert len(frame.numbers) == len(dataset.target)


def test_income_is_tested_on_its_official_rows() -> None:
    options = data.bundled_options("income")
    parts = data.split(columns.load(options), options)
    assert sorted(parts.test.tolist()) == list(range(16281))


def test_an_unknown_data_set_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'housing'"):
        data.bundled_options("hosing")


# Splits


def table(**more: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.normal(size=100), "z": rng.normal(size=100), **more, "y": rng.normal(size=100)})


def splitted(frame: pd.DataFrame, write: Callable[..., str], way: str, **more: Any) -> tuple[Any, data.Split]:
    options = DataOptions(data=write(frame.to_csv(index=False)), target="y", split=way, **more)
    dataset = columns.load(options)
    return dataset, data.split(dataset, options)


def test_the_same_seed_gives_the_same_split_and_another_seed_another(write: Callable[..., str]) -> None:
    first, again, other = (splitted(table(), write, "random", seed=seed)[1] for seed in (1, 1, 2))
    assert first.test.tolist() == again.test.tolist() != other.test.tolist()
    assert (len(first.train), len(first.validation), len(first.test)) == (64, 16, 20)


def test_classes_keep_their_shares(write: Callable[..., str]) -> None:
    dataset, parts = splitted(table().assign(y=["a"] * 80 + ["b"] * 20), write, "random")
    assert dataset.target[parts.test].sum() == 4


def test_classes_too_rare_to_part_are_learned_from_and_told(write: Callable[..., str]) -> None:
    dataset, parts = splitted(table().assign(y=["a"] * 50 + ["b"] * 48 + ["c", "d"]), write, "random")
    assert set(dataset.target[parts.train]) == {0, 1, 2, 3}
    assert any("only learned from" in notice for notice in parts.notices)


def test_more_classes_than_test_rows_are_not_stratified_and_told(write: Callable[..., str]) -> None:
    _, parts = splitted(table().assign(y=[f"c{row % 30}" for row in range(100)]), write, "random")
    assert any("not stratified" in notice for notice in parts.notices)


def test_classes_of_which_none_can_be_parted_are_refused(write: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match=r"none of its 50 classes has 3 rows; .*--task regression, --decimal ,"):
        splitted(table().assign(y=[f"c{row % 50}" for row in range(100)]), write, "random")


def test_rare_classes_that_remain_for_training_are_parted_by_chance(write: Callable[..., str]) -> None:
    classes = [f"c{row % 40}" for row in range(80)] + ["c1"] * 20
    _, parts = splitted(table(part=["train"] * 80 + ["test"] * 20).assign(y=classes), write, "column:part")
    assert len(parts.validation) == 16
    assert any("not stratified" in notice for notice in parts.notices)


def test_duplicate_columns_of_a_parquet_file_are_told_as_those_of_a_csv(write: Callable[..., str]) -> None:
    numbers = pa.array([1, 2, 3])
    file = io.BytesIO()
    arrow_parquet.write_table(pa.Table.from_arrays([numbers] * 3, names=["a", "b", "a"]), file)
    with pytest.raises(UsageError, match="2 columns of the name 'a'"):
        data.read(DataOptions(data=write(file.getvalue())))


def test_by_time_the_test_rows_are_the_last(write: Callable[..., str]) -> None:
    days = pd.date_range("2020-01-01", periods=100).strftime("%d.%m.%Y").to_numpy()
    shuffled = np.random.default_rng(3).permutation(100)
    dataset, parts = splitted(table(day=days[shuffled]), write, "time:day")
    day = dataset.columns["day"]
    assert day[parts.train].max() < day[parts.validation].min()
    assert day[parts.validation].max() < day[parts.test].min()
    assert len(parts.test) == 20
    assert "day" in dataset.schema.by_name


def test_groups_never_straddle(write: Callable[..., str]) -> None:
    groups = np.arange(100) % 17
    dataset, parts = splitted(table(who=groups), write, "group:who")
    seen = [set(groups[part].tolist()) for part in (parts.train, parts.validation, parts.test)]
    assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2])
    assert "who" not in dataset.schema.by_name
    assert 10 <= len(parts.test) <= 30


def test_a_column_may_say_the_split(write: Callable[..., str]) -> None:
    part = ["Train"] * 60 + ["val"] * 20 + ["test"] * 20
    _, parts = splitted(table(part=part), write, "column:part")
    assert parts.test.tolist() == list(range(80, 100))
    assert parts.validation.tolist() == list(range(60, 80))


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("tme:day", "did you mean time:COLUMN"),
        ("time", "none of random"),
        ("time:dya", "no column 'dya', did you mean 'day'"),
        ("time:colour", "neither dates nor numbers"),
        ("column:colour", "must say train, validation or test"),
        ("group:same", "at least 3 groups"),
        ("time:y", "is the target"),
        ("column:part", "no rows for the test part"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(write: Callable[..., str], way: str, message: str) -> None:
    frame = table(day=range(100), colour=["red", "blue"] * 50, same=[1] * 100, part=["train"] * 100)
    with pytest.raises(UsageError, match=message):
        splitted(frame, write, way)


def test_duplicates_that_straddle_are_told(write: Callable[..., str]) -> None:
    frame = table()
    twice = pd.concat([frame, frame.iloc[:50]])
    _, parts = splitted(twice, write, "random")
    assert any("test rows stand in the training part too" in notice for notice in parts.notices)
    assert splitted(frame, write, "random")[1].notices == []


def test_a_date_under_a_random_split_is_told(write: Callable[..., str]) -> None:
    days = pd.date_range("2020-01-01", periods=100).strftime("%Y-%m-%d")
    _, parts = splitted(table(day=days), write, "random")
    assert any("time:day" in notice for notice in parts.notices)
