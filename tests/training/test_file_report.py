"""`python -m training report` compares the columns of two files without a model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.__main__ import main

Report = Callable[..., tuple[int, Any]]


def table(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "km": rng.normal(10, 3, rows),
            "by_card": rng.random(rows) < 0.7,
            "zone": rng.choice(["north", "south", "west"], rows),
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), "D"),
            "partly_missing": np.where(rng.random(rows) < 0.3, np.nan, rng.normal(size=rows)),
        }
    )


@pytest.fixture
def report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Report:
    """report(old, new, name=…): the exit code, and the report of two tables as files."""

    def write(frame: pd.DataFrame, name: str) -> str:
        path = tmp_path / name
        if name.endswith("csv"):
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
        return str(path)

    def run(old: pd.DataFrame, new: pd.DataFrame, name: str = "new.parquet") -> tuple[int, Any]:
        code = main(["report", write(old, "old.parquet"), write(new, name), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("name", ["new.parquet", "new.csv"])
def test_report_of_two_samples_of_one_table_shows_no_drift(report: Report, name: str) -> None:
    code, found = report(table(2000, 1), table(1000, 2), name)
    assert (code, found["status"], found["prediction"], found["estimated"]) == (0, "ok", None, None)
    assert [(column["name"], column["type"]) for column in found["columns"]] == [
        ("km", "number"),
        ("by_card", "boolean"),
        ("day", "date"),
        ("partly_missing", "number"),
        ("zone", "category"),
    ]


def test_report_names_only_the_changed_columns(report: Report) -> None:
    new = table(1000, 2)
    new["km"] *= 1000
    new.loc[:49, "zone"] = "east"
    new["partly_missing"] = np.nan
    code, found = report(table(2000, 1), new)
    statuses = {column["name"]: column["status"] for column in found["columns"]}
    assert code == 3
    assert statuses == {"km": "alarm", "by_card": "ok", "day": "ok", "partly_missing": "alarm", "zone": "alarm"}


def test_report_of_two_files_is_printed_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(500, 1).to_csv(tmp_path / "old.csv", index=False)
    table(100, 2).to_csv(tmp_path / "new.csv", index=False)
    assert main(["report", str(tmp_path / "old.csv"), str(tmp_path / "new.csv")]) == 0
    printed = capsys.readouterr().out
    assert "100 rows, compared with 500 of" in printed
    assert printed.endswith("status: small_sample\n")


def test_a_missing_column_and_a_missing_file_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(500, 1).to_csv(tmp_path / "old.csv", index=False)
    table(500, 1).drop(columns=["zone"]).to_csv(tmp_path / "new.csv", index=False)
    assert main(["report", str(tmp_path / "old.csv"), str(tmp_path / "new.csv")]) == 2
    assert "lacks columns of the first file: 'zone'" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "old.csv"), str(tmp_path / "none.csv")]) in (1, 2)
    assert "none.csv" in capsys.readouterr().err
