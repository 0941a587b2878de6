"""The lines of the documentation that read captured files with DuckDB and polars."""

from pathlib import Path

import pytest

from tests.captured_files import ROWS, line_of, write_captured
from tests.clients.conftest import PYTHON, USE, run_json


@pytest.mark.parametrize("library", ["DuckDB", "polars"])
def test_documented_line_reads_the_rows_of_all_versions(library: str, tmp_path: Path) -> None:
    write_captured(tmp_path / "captured")
    found = run_json(PYTHON / "python", USE / "read_captured.py", library, line_of(library), folder=tmp_path)
    assert len(set(found["ids"])) == len(found["ids"]) == 2 * ROWS
    assert found["towns"] == ["hère"]
    assert found["ages"] == [0.5, 1.5, 2.5]
