"""Fixtures for the training tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests import quick_training
from tests.training.tables import ROWS, Infer, plain_columns
from training import importance, plots
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.dataset import Dataset


@pytest.fixture(autouse=True)
def quick_importance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importance is measured on few rows, except in its own tests."""
    if request.path.name != "test_importance.py":
        for name, limit in quick_training.LIMITS.items():
            monkeypatch.setattr(importance, name, limit)


@pytest.fixture(autouse=True)
def unrendered_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are not rendered, except in tests of what a version contains and of plots."""
    if request.path.name not in ("test_pipeline.py", "test_plots.py"):
        monkeypatch.setattr(plots, "_to_png", quick_training.placeholder_png)


@pytest.fixture
def short_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boosted trees stop early and are those of scikit-learn, even if CatBoost is installed."""
    from training import baselines, catboost_baseline

    monkeypatch.setattr(catboost_baseline, "is_installed", lambda: False)
    monkeypatch.setattr(baselines, "TREE_STEP", 10)
    monkeypatch.setattr(baselines, "TREE_PATIENCE", 1)
    monkeypatch.setattr(baselines, "TREE_GAIN", 0.3)


@pytest.fixture
def infer(tmp_path: Path) -> Infer:
    """infer(a=cells): the data set of a CSV file with these columns, a numeric feature x and a target y."""

    def infer(**cells: Any) -> Dataset:
        options = {key: cells.pop(key) for key in list(cells) if key in DataOptions.__dataclass_fields__}
        path = tmp_path / "table.csv"
        rows = len(next(iter(cells.values()), range(ROWS)))
        pd.DataFrame(plain_columns(rows) | cells).to_csv(path, index=False)
        return load_dataset(DataOptions(**{"data": str(path), "target": "y"} | options))

    return infer


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a file. Returns its path."""

    def write(content: str | bytes, name: str = "trips.csv") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write
