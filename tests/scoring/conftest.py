"""Small models of tests/recorded, tables for them, and jobs in this process or in one of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "tests" / "recorded" / "store"
WAIT_S = 120.0
Run = Callable[..., int]


def numbers_table(rows: int, seed: int = 0) -> pa.Table:
    """A table for the model `numbers`, with an `id`; one row in 50 is invalid."""
    rng = np.random.default_rng(seed)
    columns = {name: np.round(rng.uniform(0, 10 * (place + 1), rows), 2) for place, name in enumerate("abcdef")}
    missing = np.arange(rows) % 50 == 7
    table = {name: pa.array(values, mask=missing if name == "c" else None) for name, values in columns.items()}
    return pa.table({"id": pa.array([f"r{number}" for number in range(rows)], pa.string()), **table})


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABSERVE_STORE", str(STORE))
    return STORE


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """1,000 rows in Parquet."""
    path = tmp_path / "in" / "table.parquet"
    path.parent.mkdir()
    pq.write_table(numbers_table(1000), path, row_group_size=300)
    return path


@pytest.fixture
def run(store: Path, tmp_path: Path) -> Run:
    """run(inputs, options) scores with `numbers` into `out`; the exit code."""

    def run(inputs: Sequence[str | Path], *options: str, model: str = "numbers") -> int:
        words = [model, *map(str, inputs), "--out", str(tmp_path / "out"), "--keep", "id", "--workers", "1", *options]
        return main(words)

    return run


def start_job(words: Sequence[str], **options: object) -> "subprocess.Popen[bytes]":
    """`python -m scoring` with the store of the tests."""
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
    """The files of a folder by their relative paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def output(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))])
