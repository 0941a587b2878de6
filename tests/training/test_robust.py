"""The default network can be trained and stored on difficult tables, and it predicts finite numbers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import store
from models.tabular_model import TabularModel
from training import pipeline
from training.config import DataOptions, FitOptions

ROOT = Path(__file__).parents[2]
Columns = dict[str, object]
Write = Callable[[Columns], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(columns: Columns) -> Path:
        path = tmp_path / "odd.parquet"
        pd.DataFrame(columns).to_parquet(path)
        return path

    return write


EPOCHS = 6  # instead of 60, with the same learning rates; if a network diverges, it does so early


def train(data: Path, target: str, **options: Any) -> TabularModel:
    messages: list[str] = []
    fit_options = FitOptions(**options)
    stored, _ = pipeline.run(
        DataOptions(data=str(data), target=target), fit_options, baselines=False, report=messages.append
    )
    metrics = json.loads((stored.path / "metrics.json").read_text("utf-8"))["network"]
    assert np.isfinite([*metrics.values()]).all(), metrics
    return store.load(stored)


def difficult_columns(rows: int) -> Columns:
    rng = np.random.default_rng(0)
    return {
        "tail": rng.standard_cauchy(rows) * 1e20,
        "two": rng.integers(0, 2, rows) * 1e9,
        "mostly_zero": np.where(np.arange(rows) == 7, 1e12, 0.0),
        "one_after_cleaning": np.where(rng.random(rows) < 0.5, np.nan, 5.0),
        "mostly_missing": np.where(rng.random(rows) < 0.7, np.nan, rng.normal(size=rows)),
        "name": np.array(["a", "b", "c", None])[rng.integers(0, 4, rows)],
    }


@pytest.mark.usefixtures("bentoml_store")
def test_default_network_trains_on_fifty_rows_with_extreme_values(write: Write) -> None:
    model = train(
        write(difficult_columns(50) | {"y": np.random.default_rng(1).standard_cauchy(50)}), "y", epochs=EPOCHS
    )
    row = {
        "tail": 1e300,
        "two": -1e300,
        "mostly_zero": 1e-300,
        "one_after_cleaning": None,
        "mostly_missing": None,
        "name": None,
    }
    values = model.predict_rows([row | {"one_after_cleaning": value} for value in (None, 5, -1e9)]).primary
    target = model.encoder.target
    assert target.low is not None
    assert target.high is not None
    assert ((values >= target.low) & (values <= target.high)).all(), "predictions are clipped to the range seen"


@pytest.mark.usefixtures("bentoml_store")
def test_default_network_trains_with_a_class_of_three_rows(write: Write) -> None:
    labels = np.array(["rare"] * 3 + ["usual"] * 60 + ["other"] * 60)
    x = np.arange(123) + np.random.default_rng(0).normal(size=123)
    model = train(write({"x": x, "y": labels}), "y", epochs=EPOCHS)
    probabilities = model.predict_rows([{"x": value} for value in (-1e9, 0.0, 60.0, 1e9)]).primary
    assert probabilities.shape == (4, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.usefixtures("bentoml_store")
def test_default_network_trains_with_five_hundred_columns(write: Write) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 500))
    columns = {f"c{number}": column for number, column in enumerate(x.T)}
    model = train(write(columns | {"y": 3 * x[:, 0] + x[:, 1]}), "y", epochs=2, dropout=0.1, final="train")
    assert np.isfinite(model.predict_rows([dict.fromkeys(columns, 0.5)] * 3).primary).all()


MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems report memory in other units")
def test_training_on_a_hundred_thousand_rows_needs_little_memory(write: Write, tmp_path: Path) -> None:
    """Training runs in a separate process so that its peak memory can be measured. TensorFlow alone takes half a
    gigabyte."""
    x = np.random.default_rng(0).normal(size=(100_000, 8))
    path = write({f"c{number}": column for number, column in enumerate(x.T)} | {"y": x[:, 0] * x[:, 1]})
    options = ["--data", str(path), "--target", "y", "--no-baselines", "--epochs", "1", "--dropout", "0.1"]
    options += ["--final", "train"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, "-m", "tests.quick_training", *options],
        cwd=ROOT,
        env=os.environ | {"BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "True"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Stored as odd:1" in done.stdout
    gigabytes = int(done.stdout.split()[-1]) / 1e6
    assert gigabytes < 3
