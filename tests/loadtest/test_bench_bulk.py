"""The parts of `bench bulk` that need no training: the table, a measured run, and the printed table."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from loadtest.bench import bulk, bulk_loops
from loadtest.bench.bulk import BulkFigures, measured, table, write_table
from models.schema import FeatureSchema

STORE = Path(__file__).resolve().parents[1] / "recorded" / "store"


def test_bulk_scoring_is_measured_with_its_workers(tmp_path: Path) -> None:
    shutil.copytree(STORE / "numbers", tmp_path / "models" / "numbers")
    schema = FeatureSchema.from_json((STORE / "numbers" / "1" / "features.json").read_bytes())
    assert write_table(tmp_path / "in", schema, 3000) > 3000
    words = ["-m", "scoring", "numbers", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--workers", "1"]
    found = measured("tabserve score", words, 3000, tmp_path / "models")
    assert (found.rows, found.note) == (3000, "")
    assert found.peak_mb > 0
    assert found.cpu_seconds > 0
    assert (tmp_path / "out" / "_SUCCESS").is_file()
    failed = measured("tabserve score", [*words, "--keep", "unknown"], 3000, tmp_path / "models")
    assert failed.note == "failed with exit code 2"


def test_scoring_loop_reads_chunks_and_writes_every_prediction(tmp_path: Path) -> None:
    schema = FeatureSchema.from_json((STORE / "numbers" / "1" / "features.json").read_bytes())
    write_table(tmp_path / "in", schema, 3000)
    encode = bulk_loops.encoder_of(STORE / "numbers" / "1")
    bulk_loops.score(lambda frame: encode(frame).sum(axis=1), tmp_path / "in", 2500, tmp_path / "out.parquet")
    assert np.isfinite(pq.read_table(tmp_path / "out.parquet")["value"].to_numpy()).sum() == 2500


def test_table_compares_loops_with_bulk_scoring() -> None:
    ours = BulkFigures("tabserve score", 1000, 1.0, 300, cpu_seconds=0.01)
    other = BulkFigures("keras", 500, 5.0, 700, "Model.predict", 0.02)
    lines = table([ours, other, BulkFigures("mlflow", 0, 0.0, 0, "mlflow is not installed")])
    assert lines[1:3] == [
        ["tabserve score", "1,000", "1.00", "10.0", "1.00", "300", "1,000", ""],
        ["keras", "100", "10.00", "40.0", "4.00", "700", "500", "Model.predict"],
    ]
    assert lines[3][-1] == "mlflow is not installed"
    assert bulk.MISSING == bulk_loops.MISSING
