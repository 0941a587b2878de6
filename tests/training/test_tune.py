"""`--tune` searches for better settings."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.architecture import Architecture, Epoch
from training import tune
from training.config import FitOptions
from training.encoded_rows import EncodedRows
from training.fit import training_run
from training.progress import Progress
from training.pruned_trial import FinishedTrials, PrunedTrial, train_pruned
from training.recipe import Recipe, decide_recipe
from training.training_run import FitResult, OnEpoch
from training.tune import Search, TrainSeveral


def test_search_starts_with_the_recipe_and_keeps_supplied_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training run advances the clock by a minute."""
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


def test_search_with_parallel_trials_has_the_same_first_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trials of the recipe and random trials do not depend on results. Only trials advance the clock."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(tune, "time", SimpleNamespace(monotonic=lambda: clock.now))
    chosen = decide_recipe(FitOptions(network="ensemble"), "regression", 1000)
    seen: dict[int, list[Recipe]] = {}

    def search(parallel: int, seconds: float) -> dict[str, Any]:
        tried = seen.setdefault(parallel, [])

        def train(recipes: Sequence[Recipe], finished: FinishedTrials, left: float) -> Iterator[PrunedTrial]:
            for one in recipes:
                tried.append(one)
                clock.now += 60
                if len(tried) == 3:
                    yield PrunedTrial({50: 9.0}, None)
                elif len(tried) == 4:
                    yield PrunedTrial({}, None, diverged=True)
                else:
                    yield PrunedTrial({100: one.learning_rate}, one.learning_rate)

        several = TrainSeveral(parallel, train)
        file = tmp_path / f"{parallel}.log"
        return Search(file, chosen, FitOptions(), _raise_if_called, Progress("t"), several).run(seconds)[1]

    one_by_one, four = search(1, 600), search(4, 600)
    assert (len(seen[1]), len(seen[4])) == (10, 12)
    assert seen[1] == seen[4][:10]
    states = [trial["state"] for trial in four["trials"]]
    assert states[:4] == ["complete", "complete", "pruned", "fail"]
    assert len(seen[4]) % 4 == 0
    assert [trial["loss"] for trial in four["trials"][:2]] == [trial["loss"] for trial in one_by_one["trials"][:2]]


def _raise_if_called(recipe: Recipe, on_epoch: OnEpoch) -> FitResult:
    raise AssertionError("this process must not train a trial")


def test_unfinished_trials_of_an_interrupted_search_count_as_failed(tmp_path: Path) -> None:
    chosen = decide_recipe(FitOptions(network="ensemble"), "regression", 1000)
    calls = [0]

    def train(recipes: Sequence[Recipe], finished: FinishedTrials, left: float) -> Iterator[PrunedTrial]:
        calls[0] += 1
        yield PrunedTrial({100: 0.5}, 0.5)
        if calls[0] == 1:
            raise KeyboardInterrupt
        yield from (PrunedTrial({100: 0.4}, 0.4) for _ in recipes[1:])

    search = Search(tmp_path / "s.log", chosen, FitOptions(), _raise_if_called, Progress("t"), TrainSeveral(3, train))
    with pytest.raises(KeyboardInterrupt):
        search.run(60)
    summary = search.run(0.0)[1]
    assert [trial["state"] for trial in summary["trials"][:3]] == ["complete", "fail", "fail"]


def test_remote_trial_is_pruned_like_a_local_trial() -> None:
    """After half of its epochs, the trial is worse than the median of five finished trials."""
    optuna = pytest.importorskip("optuna")
    chosen = replace(
        decide_recipe(FitOptions(framework="numpy", network="ensemble", hidden=(4,), members=2), "regression", 64),
        trials=(), epochs=4, refit=False, folds=1,
    )  # fmt: skip
    rows = EncodedRows(np.zeros((64, 2), np.float32), np.linspace(-1, 1, 64))
    run = training_run(
        chosen, Architecture(2, hidden=(4,), outputs=1, members=2, adapters=True), "regression", rows, rows
    )

    def finished(loss: float) -> list[Any]:
        reported = {25: loss, 50: loss, 75: loss, 100: loss}
        return [optuna.trial.create_trial(value=loss, intermediate_values=reported) for _ in range(5)]

    better, worse, none = (train_pruned(run, trials, 60) for trials in (finished(1e-9), finished(1e9), []))
    assert (better.loss, max(better.losses)) == (None, 50)
    assert worse.loss == none.loss is not None
    assert train_pruned(run, finished(1e9), -1.0).loss is None, "the time limit has passed"
    assert train_pruned(run, [], -1.0).loss == none.loss, "the first trial is trained to its end"
