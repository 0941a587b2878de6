"""Options of the network that contradict each other or are out of range are rejected."""

from typing import Any

import pytest

from models.architecture import Task
from training.config import FitOptions
from training.errors import UsageError
from training.recipe import decide_recipe


@pytest.mark.parametrize(
    ("options", "task"),
    [
        ({"loss": "mse"}, "binary"),
        ({"loss": "crossentropy"}, "regression"),
        ({"class_weights": "balanced"}, "regression"),
        ({"label_smoothing": 0.1}, "regression"),
        ({"framework": "numpy", "loss": "mae"}, "regression"),
        ({"framework": "numpy", "optimizer": "rmsprop"}, "regression"),
        *[({name: 0}, "regression") for name in ("epochs", "batch_size", "learning_rate", "clip_norm")],
        *[({name: -1}, "regression") for name in ("patience", "bins", "weight_decay", "dropout", "fit_seed")],
        ({"dropout": 1.0}, "regression"),
        ({"label_smoothing": 1.0}, "binary"),
        ({"learning_rate": float("nan")}, "regression"),
        ({"hidden": (8, -8)}, "regression"),
    ],
)
def test_invalid_options_are_rejected(options: dict[str, Any], task: Task) -> None:
    with pytest.raises(UsageError, match="--"):
        decide_recipe(FitOptions(**options), task, 1000)
