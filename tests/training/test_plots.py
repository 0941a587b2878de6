"""The plots of a model card are PNG files for all names of columns and classes."""

import itertools
from typing import Any

import numpy as np
import pytest

from models.architecture import Epoch
from models.feature import Feature, TrainingRange
from models.schema import FeatureSchema
from training.importance import ColumnImportance
from training.plots import draw_plots

PNG = b"\x89PNG\r\n\x1a\n"
ODD = "$\\frac{$ | 日本"
HISTORY = [Epoch(number, 3, 1 / number, None if number == 1 else 0.0, 0.1, 0.0) for number in (1, 2, 3)]
FEATURES = [Feature(name="x", kind="number", nullable=False, seen=TrainingRange(min=0, max=1))]
LEVELS = [[level / 10, level / 10] for level in range(1, 10)]
CLASSES: dict[str, list[Any] | None] = {
    "regression": None,
    "binary": [False, True],
    "multiclass": [ODD, "1", "x" * 100],
}


@pytest.mark.parametrize("task", CLASSES)
def test_each_plot_is_a_png_file(task: Any) -> None:
    rng = np.random.default_rng(0)
    schema = FeatureSchema(name="odd", task=task, target=ODD, classes=CLASSES[task], features=FEATURES)
    outputs = rng.random((60, 1 if task == "regression" else len(CLASSES[task] or [])))
    y = outputs[:, 0] + 1 if task == "regression" else rng.integers(0, outputs.shape[1], 60)
    shares = {"coverage_by_fifth": [0.9] * 5} if task == "regression" else {"coverage_by_class": {"a": 1.0, ODD: 0.5}}
    importance = [ColumnImportance(ODD, 0.5, 0.1), ColumnImportance("x" * 300, 0.0, -0.1)]
    coverage = {"level": 0.9, "coverage_at": LEVELS, **shares}
    found = draw_plots(schema, HISTORY, y, outputs, coverage, importance)
    assert sorted(found) == ["answers.png", "coverage.png", "importance.png", "learning.png"]
    assert all(content.startswith(PNG) and len(content) > 5000 for content in found.values())
    assert not any(one == other for one, other in itertools.combinations(found.values(), 2))


def test_model_card_of_few_rows_has_no_coverage_and_importance_plots() -> None:
    schema = FeatureSchema(name="plain", task="regression", target="y", features=FEATURES)
    found = draw_plots(schema, HISTORY, np.array([1.0, 2.0]), np.array([[1.0], [3.0]]), {})
    assert sorted(found) == ["answers.png", "learning.png"]


@pytest.mark.parametrize("error", [0.0, 1.0, -1e-300, 1e300])
def test_plot_of_equal_errors_is_rendered(error: float) -> None:
    """All errors are equal except for rounding, for example if the target is constant in the held-out rows."""
    schema = FeatureSchema(name="plain", task="regression", target="y", features=FEATURES)
    y = np.random.default_rng(0).random(60)
    assert draw_plots(schema, HISTORY, y, y[:, None] + error, {})["answers.png"].startswith(PNG)
