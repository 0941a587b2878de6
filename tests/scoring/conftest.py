"""Small models of tests/recorded, tables for them, and jobs in this process or in a separate one."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.__main__ import main
from tests.scoring.tables import ROOT, STORE, numbers_table

WAIT_S = 300.0
Run = Callable[..., int]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABSERVE_STORE", str(STORE))
    return STORE


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A Parquet file of 1,000 rows."""
    path = tmp_path / "in" / "table.parquet"
    path.parent.mkdir()
    pq.write_table(numbers_table(1000), path, row_group_size=300)
    return path


@pytest.fixture
def run(store: Path, tmp_path: Path) -> Run:
    """run(inputs, options): score the inputs with the model `numbers` into `out`. Returns the exit code."""

    def run(inputs: Sequence[str | Path], *options: str, model: str = "numbers") -> int:
        words = [model, *map(str, inputs), "--out", str(tmp_path / "out"), "--keep", "id", "--workers", "1", *options]
        return main(words)

    return run


def start_job(words: Sequence[str], **options: object) -> "subprocess.Popen[bytes]":
    """Start `python -m scoring` with the store of the tests."""
    environment = os.environ | {"TABSERVE_STORE": str(STORE)}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]  # options
        [sys.executable, "-m", "scoring", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )


def tree(folder: Path) -> dict[str, bytes]:
    """The contents of all files of a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def output(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))])
