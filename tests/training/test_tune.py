"""The search for better settings."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.architecture import Epoch
from training import tune
from training.config import FitOptions
from training.progress import Progress
from training.recipe import Recipe, decide_recipe
from training.training_run import FitResult, OnEpoch
from training.tune import Search


def test_a_search_tries_the_recipe_first_continues_and_keeps_supplied_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training takes a minute of a clock that only trainings advance."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(tune, "time", SimpleNamespace(monotonic=lambda: clock.now))
    options = FitOptions(weight_decay=0.02, network="ensemble")
    chosen = decide_recipe(options, "regression", 1000)
    tried: list[Recipe] = []

    def train(one: Recipe, on_epoch: OnEpoch) -> FitResult:
        tried.append(one)
        clock.now += 60
        history = [Epoch(1, 1, one.learning_rate, one.learning_rate, one.learning_rate, 0.0)]
        on_epoch(history[-1])
        return FitResult(None, None, "", history, 0.0, 0, one, {})

    def search() -> tuple[Recipe, dict[str, Any]]:
        return Search(tmp_path / "study.log", chosen, options, train, Progress("t")).run(600)

    best, summary = search()
    expected = [replace(chosen, trials=(), **settings) for settings in chosen.trials]
    assert tried[: len(expected)] == expected
    assert best.learning_rate == min(one.learning_rate for one in tried)
    assert {one.weight_decay for one in tried} == {0.02}
    before = len(tried)
    assert len(summary["trials"]) == before
    assert len(search()[1]["trials"]) == len(tried) > before
