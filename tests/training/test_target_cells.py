"""A target is read like a feature: words for missing values, units, dates, and numbers stored as text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.frame import Frame
from tests.training.tables import ROWS, Infer, cycle, has_notice
from training.baselines import Baselines
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.dataset import Dataset
from training.errors import UsageError

CASES = Path(__file__).parent / "cases"
NUMBERS = [f"{row / 4:.2f}" for row in range(ROWS)]


def load(name: str) -> Dataset:
    return load_dataset(DataOptions(data=str(CASES / name), target="y"))


@pytest.mark.parametrize("name", ["f05_int_target_dash.csv", "f05_int_target_hash_na.csv"])
def test_rows_without_a_target_are_left_out(name: str) -> None:
    dataset = load(name)
    assert (dataset.schema.task, dataset.rows_used) == ("regression", 380)
    assert has_notice(dataset, "20 rows without a target are left out")


def test_numbers_stored_as_text_are_a_numeric_target() -> None:
    dataset = load("f05_text_numbers.parquet")
    expected = pd.read_parquet(CASES / "f05_text_numbers.parquet")["y"].astype(float)
    assert dataset.schema.task == "regression"
    assert dataset.target.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("write", "factor"),
    [(lambda text: f"€{text}", 1.0), (lambda text: f"{text} %", 1.0), (lambda text: f"\u2212{text}", -1.0)],
)
def test_units_and_currencies_of_a_target_are_read(infer: Infer, write: Callable[[str], str], factor: float) -> None:
    dataset = infer(y=[write(text) for text in NUMBERS])
    assert dataset.schema.task == "regression"
    ratio = dataset.target[1:] / (factor * np.array(NUMBERS[1:], dtype=float))
    np.testing.assert_allclose(ratio, ratio[0])


@pytest.mark.parametrize("word", ["geheim", "see note", "withheld"])
def test_words_among_the_numbers_of_a_target_require_a_flag(infer: Infer, word: str) -> None:
    cells = [word if row % 20 == 0 else text for row, text in enumerate(NUMBERS)]
    with pytest.raises(UsageError, match=rf"5% of its cells are not, e.g. '{word}': use --na .*--task classification"):
        infer(y=cells)
    assert infer(y=cells, na=(word,)).rows_used == ROWS - 10
    assert infer(y=cells, task="classification").schema.task == "multiclass"


def test_a_few_numbers_among_target_classes_are_classes(infer: Infer) -> None:
    assert infer(y=cycle("0", "1", "2", "3+")).schema.classes == ["0", "1", "2", "3+"]


@pytest.mark.parametrize("style", ["%Y-%m-%d", "%d.%m.%Y", "%Y-%m-%dT%H:%M:%S"])
def test_a_target_of_dates_is_rejected(infer: Infer, style: str) -> None:
    cells = pd.date_range("2024-01-01", periods=ROWS).strftime(style).tolist()
    with pytest.raises(
        UsageError, match=r"contains dates, e.g. .*: predict a number computed from them.*--task classification"
    ):
        infer(y=cells)


@pytest.mark.usefixtures("short_trees")
def test_baselines_accept_columns_without_values(infer: Infer) -> None:
    dataset = infer(z=[*[None] * (ROWS - 1), 1.5])
    frame: Frame = dataset.schema.frames.from_columns(dataset.columns)
    rows: Any = np.arange(ROWS)
    sets = (rows[:100], rows[100:150], rows[150:])
    assert np.isfinite([*Baselines(dataset.schema, frame, dataset.target, sets).trees(print).values()]).all()
