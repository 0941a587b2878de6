"""The documented lines of code that read captured files with pandas and pyarrow; other libraries are tested in
tests/clients and tests/scoring.
"""

import glob
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.captured_files import ROWS, line_of, write_captured


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_documented_line_reads_the_rows_of_all_versions(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_captured(tmp_path / "captured")
    monkeypatch.chdir(tmp_path)
    table: Any = eval(line_of(library), {"pd": pd, "pa": pa, "pq": pq, "glob": glob})
    rows = table.to_pylist() if library == "pyarrow" else table.to_dict("records")
    assert len({row["tabserve_id"] for row in rows}) == len(rows) == 2 * ROWS
    assert {row["town"] for row in rows} == {"hère"}
    assert sorted(row["age"] for row in rows if row["tabserve_version"] == "2") == [0.5, 1.5, 2.5]
