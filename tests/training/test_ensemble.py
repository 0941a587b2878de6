"""The default network: what is tried and kept, seeds, decay, divergence; and the search for better settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.architecture import Architecture, Epoch, Link, Task
from models.network.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from models.network.network import DivergenceError
from training import ensemble, fit, temperature
from training.config import FitOptions, Framework, Recipe, recipe
from training.errors import UsageError
from training.fit import Fitted, OnEpoch, Part
from training.progress import Progress
from training.tune import Search

FRAMEWORKS: list[Framework] = ["numpy", "keras"]
SIZES = [(13_209, 8), (13_209, 500), (640_000, 8)]


def curved(rows: int = 192) -> Part:
    x = np.random.default_rng(1).normal(size=(rows, 3)).astype(np.float32)
    return Part(x, np.sin(3 * x[:, 0]).astype(np.float64))


def small(framework: Framework, task: Task = "regression", **changes: Any) -> Recipe:
    options = FitOptions(framework=framework, network="ensemble", hidden=(8,), members=2, epochs=3, batch_size=32)
    return recipe(replace(options, **changes), task, 192)


def run(decided: Recipe) -> Fitted:
    network = Architecture(
        3, hidden=decided.hidden, dropout=decided.dropout, scales=(1.0,) * 3, members=decided.members, adapters=True
    )
    return fit.fit(decided, network, "regression", curved(), curved(), lambda epoch: None)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_dropout_is_tried_and_the_best_by_validation_is_kept(framework: Framework) -> None:
    fitted = run(small(framework))
    assert set(fitted.tried) == {"dropout 0.2", "dropout 0.1", "dropout 0"}
    assert fitted.history[-1].validation_loss == min(fitted.tried.values())
    assert fitted.tried[f"dropout {fitted.recipe.dropout:g}"] == min(fitted.tried.values())
    assert fitted.network is not None
    part = curved()
    found = float(np.mean((fitted.network.predict(part.x)[:, 0] - part.y) ** 2))
    assert found == pytest.approx(min(fitted.tried.values()), rel=1e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_same_seed_gives_the_same_ensemble_and_another_seed_another(framework: Framework) -> None:
    outputs = []
    for seed in (1, 1, 2):
        network = run(small(framework, fit_seed=seed, dropout=0.2)).network
        assert network is not None
        outputs.append(network.predict(curved().x))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize(("task", "outputs", "link"), [("binary", 1, "sigmoid"), ("multiclass", 3, "softmax")])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_classes_are_told_as_surely_as_the_validation_part_bears_out(
    framework: Framework, task: Task, outputs: int, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels of which a quarter is wrong, learned by heart by a network without dropout."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) * (outputs > 1) + (x[:, 1] > 0)
    y = np.where(rng.random(400) < 0.25, rng.integers(0, max(outputs, 2), 400), y)
    train, validation = Part(x[:200], y[:200]), Part(x[200:], y[200:])
    decided = small(framework, dropout=0.0, label_smoothing=0.0, epochs=60, task=task)
    network = Architecture(3, hidden=(32,), scales=(1.0,) * 3, members=2, adapters=True, outputs=outputs, link=link)
    loss = BinaryCrossEntropy() if task == "binary" else CategoricalCrossEntropy()
    answers = {}
    for cooled in (True, False):
        if not cooled:
            monkeypatch.setattr(temperature, "fit", lambda *given: 1.0)
        fitted = fit.fit(decided, network, task, train, validation, lambda epoch: None)
        assert fitted.network is not None
        answers[cooled] = fitted.network.predict(x[200:])
        if cooled:
            assert fitted.temperature > 1.2
            told = fitted.keras.predict(x[200:], verbose=0) if fitted.keras else answers[cooled]
            np.testing.assert_allclose(told, answers[cooled], atol=1e-4)
    assert loss(answers[True], y[200:])[0] < 0.95 * loss(answers[False], y[200:])[0]


def test_few_rows_all_answered_right_do_not_make_it_sure_of_everything() -> None:
    logits = np.tile([[2.0]], (5, 3, 1))
    few = temperature.fit(logits, np.ones(5, int), "sigmoid", BinaryCrossEntropy())
    many = temperature.fit(np.repeat(logits, 200, axis=0), np.ones(1000, int), "sigmoid", BinaryCrossEntropy())
    assert many < 0.5 * few < few < 1


def test_a_trial_that_diverges_leaves_the_others() -> None:
    decided, said = small("numpy"), list[str]()

    def train(one: Recipe, lost: tuple[float, ...]) -> ensemble.Tried:
        if one.dropout in lost:
            raise DivergenceError(7, float("inf"))
        return ensemble.Tried(one, [Epoch(1, 1, 0.5, one.dropout, 0.0, 0.0)], None)

    kept, losses = ensemble.best(decided, lambda one: train(one, (0.0,)), said.append)
    assert (kept.recipe.dropout, set(losses)) == (0.1, {"dropout 0.2", "dropout 0.1"})
    assert "the training with dropout 0 was lost in epoch 7" in said
    with pytest.raises(DivergenceError):
        ensemble.best(decided, lambda one: train(one, (0.2, 0.1, 0.0)), said.append)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [ensemble.schedule(small("keras", epochs=40), 6)(step) for step in range(240)]
    assert rates.index(max(rates)) in (5, 6)
    assert rates[-1] < 1e-3 * max(rates)


def test_many_columns_get_fewer_waves_and_many_rows_fewer_epochs() -> None:
    usual, wide, long = (recipe(FitOptions(), "regression", rows, columns) for rows, columns in SIZES)
    assert (usual.frequencies, usual.embedding, usual.epochs) == (16, 8, 49)
    assert (wide.frequencies, wide.embedding) == (4, 2)
    assert long.epochs * 640_000 < 4_000_000
    assert recipe(FitOptions(), "regression", 10**7, 10**5).epochs == 1


def test_what_only_one_network_has_is_refused_of_the_other() -> None:
    for options in (FitOptions(bins=8), FitOptions(patience=3), FitOptions(hidden=(8,), members=4)):
        with pytest.raises(UsageError, match="is for --network"):
            recipe(options, "regression", 1000)
    assert recipe(FitOptions(hidden=(32,)), "regression", 1000).network == "plain"
    assert recipe(FitOptions(), "regression", 1000).network == "ensemble"


def test_a_search_tries_the_recipe_first_goes_on_and_leaves_what_was_given(tmp_path: Path) -> None:
    given = FitOptions(weight_decay=0.02, network="ensemble")
    decided = recipe(given, "regression", 1000)
    tried: list[Recipe] = []

    def train(one: Recipe, on_epoch: OnEpoch) -> Fitted:
        tried.append(one)
        history = [Epoch(1, 1, one.learning_rate, one.learning_rate, one.learning_rate, 0.0)]
        on_epoch(history[-1])
        return Fitted(None, None, "", history, 0.0, 0, one, {})

    def search() -> tuple[Recipe, dict[str, Any]]:
        return Search(tmp_path / "study.log", decided, given, train, Progress("t")).run(0.5)

    best, told = search()
    assert tried[:3] == [replace(decided, trials=(), **settings) for settings in decided.trials]
    assert best.learning_rate == min(one.learning_rate for one in tried)
    assert {one.weight_decay for one in tried} == {0.02}
    before = len(tried)
    assert len(told["trials"]) == before
    assert len(search()[1]["trials"]) == len(tried) > before
