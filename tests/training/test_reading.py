"""Tables are read, or rejected with a one-line error."""

import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as arrow_parquet
import pytest

from tests.training.tables import CSV, read_column
from training.config import DataOptions
from training.errors import UsageError
from training.reading import read_table


def test_a_csv_is_read_as_text(write: Callable[..., str]) -> None:
    assert read_column(write(CSV), "x")[:3] == ["0", "1", "2"]


def test_gzip_is_recognised_by_its_content(write: Callable[..., str]) -> None:
    assert len(read_column(write(gzip.compress(CSV.encode(), mtime=0), "table.data"), "x")) == 60


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(CSV.encode())))
    assert len(read_column("-", "x")) == 60


def test_the_fingerprint_is_that_of_the_file(write: Callable[..., str]) -> None:
    one, two = (read_table(DataOptions(data=write(CSV + end))).fingerprint for end in ("", "1,2,red\n"))
    assert len(one) == 64
    assert one != two


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(CSV.encode(), mtime=0)[:-20], "cut off"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 9, "not a table"),
        (b"PK\x03\x04\x14\0\0\0" + bytes(900), "ZIP"),
        (b"PAR1 and then nothing", "Parquet"),
        (b'{"rows": [1, 2', "JSON"),
        (b"only\none\ncolumn\n", "one column"),
        (b"Dear sir, dear madam\nthis is a letter\nof three lines\n", "not a table"),
        (b"a,b,a\n1,2,3\n", "2 columns with the name 'a'"),
        (b"a,,\n1,2,3\n", "2 columns without a name"),
        (b"Report;;\n\na;b;c\n1;2;3\n4;5;6\n", "2 columns without a name .*begin in line 3: use --skip-rows 2"),
        (b"a,b\n", "no rows"),
        (b"5.1,3.5,setosa\n4.9,3.0,setosa\n", "column names"),
        (b"a,b\n1,2\n3,4,5\n6,7\n8,9\n", "row 2 below the header .*line 3.* has 3 cells, the header has 2"),
        (b"a,b\n1,2\n3\n6,7\n8,9\n", "has 1 cell,"),
    ],
)
def test_files_that_are_not_tables_are_rejected_in_one_line(
    write: Callable[..., str], content: bytes, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_table(DataOptions(data=write(content)))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_reported_with_the_nearest_name(write: Callable[..., str]) -> None:
    path = write(CSV)
    with pytest.raises(UsageError, match=r"did you mean 'trips\.csv'"):
        read_table(DataOptions(data=path.replace("trips", "trip")))


def test_a_folder_without_tables_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no table file"):
        read_table(DataOptions(data=str(tmp_path)))


def test_duplicate_columns_of_a_parquet_file_are_reported_like_those_of_a_csv(write: Callable[..., str]) -> None:
    numbers = pa.array([1, 2, 3])
    file = io.BytesIO()
    arrow_parquet.write_table(pa.Table.from_arrays([numbers] * 3, names=["a", "b", "a"]), file)
    with pytest.raises(UsageError, match="2 columns with the name 'a'"):
        read_table(DataOptions(data=write(file.getvalue())))
