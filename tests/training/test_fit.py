"""Fitting with both frameworks: the tutorial's network, seeds, class weights, label smoothing, divergence."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from models.architecture import Architecture, Epoch, Task
from models.network.network import DivergenceError
from training import fit
from training.config import FitOptions, Framework
from training.encoded_rows import EncodedRows
from training.recipe import Recipe, decide_recipe
from training.training_run import FitResult

FRAMEWORKS: list[Framework] = ["numpy", "keras"]
TUTORIAL = FitOptions(hidden=(32,), activation="relu", epochs=10, batch_size=32, optimizer="adam", loss="mse")


def linear_rows(rows: int = 256) -> EncodedRows:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    return EncodedRows(x, (x @ np.array([1.0, -2.0, 0.5, 0.0])).astype(np.float64))


def classes(count: int, rows: int = 256) -> EncodedRows:
    part = linear_rows(rows)
    edges = np.quantile(part.y, np.linspace(0, 1, count + 1)[1:-1])
    return EncodedRows(part.x, np.searchsorted(edges, part.y))


def run(
    recipe: Recipe, task: Task, part: EncodedRows, outputs: int = 1, reported: list[Epoch] | None = None
) -> FitResult:
    architecture = Architecture(
        part.x.shape[1], hidden=recipe.hidden, activation=recipe.activation, dropout=recipe.dropout, outputs=outputs
    )
    return fit.fit(recipe, architecture, task, part, part, (reported if reported is not None else []).append)


def small_recipe(framework: Framework, task: Task = "regression", **changes: Any) -> Recipe:
    options = FitOptions(framework=framework, hidden=(8,), epochs=3, **changes)
    return decide_recipe(options, task, 256)


def weights(fitted: FitResult) -> list[Any]:
    assert fitted.network is not None
    return list(fitted.network.weights().values())


# The tutorial


def test_network_of_the_tutorial_is_the_same_in_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, fit_arguments = {}, {}
    real_compile, real_fit = keras.Sequential.compile, keras.Sequential.fit

    def compile_(self: Any, **options: Any) -> Any:
        compiled.update(options)
        return real_compile(self, **options)

    def fit_(self: Any, *data: Any, **options: Any) -> Any:
        fit_arguments.update(options)
        return real_fit(self, *data, **options)

    monkeypatch.setattr(keras.Sequential, "compile", compile_)
    monkeypatch.setattr(keras.Sequential, "fit", fit_)
    fitted = run(decide_recipe(TUTORIAL, "regression", 256), "regression", linear_rows())
    assert type(fitted.keras) is keras.Sequential
    described = [(type(layer).__name__, layer.units, layer.activation.__name__) for layer in fitted.keras.layers]
    assert described == [("Dense", 32, "relu"), ("Dense", 1, "linear")]
    assert type(compiled["optimizer"]) is keras.optimizers.Adam
    assert float(compiled["optimizer"].learning_rate) == pytest.approx(0.001)
    assert compiled["loss"] == "mse"
    assert (fit_arguments["epochs"], fit_arguments["batch_size"], fit_arguments["class_weight"]) == (10, 32, None)
    assert len(fitted.history) == 10


# Both frameworks


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_loss_falls_and_each_epoch_is_reported(framework: Framework) -> None:
    reported: list[Epoch] = []
    fitted = run(
        replace(small_recipe(framework), epochs=15, learning_rate=0.01),
        "regression",
        linear_rows(),
        reported=reported,
    )
    assert reported == fitted.history
    assert [epoch.number for epoch in reported] == list(range(1, 16))
    assert reported[-1].loss < 0.1 * reported[0].loss
    assert reported[-1].validation_loss is not None
    assert reported[-1].learning_rate == pytest.approx(0.01)
    assert fitted.parameters == 4 * 8 + 8 + 8 + 1
    assert fitted.seconds > 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_only_equal_seeds_give_equal_models(framework: Framework) -> None:
    recipe = replace(small_recipe(framework), dropout=0.2)
    one, same, other = (
        weights(run(replace(recipe, fit_seed=seed), "regression", linear_rows(64))) for seed in (1, 1, 2)
    )
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_diverged_loss_ends_the_run(framework: Framework) -> None:
    with pytest.raises(DivergenceError, match="learning rate ten times smaller"):
        run(replace(small_recipe(framework, optimizer="sgd"), learning_rate=1e12), "regression", linear_rows())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_early_stopping_of_both_frameworks_restores_the_best_weights(framework: Framework) -> None:
    recipe = replace(small_recipe(framework, optimizer="sgd"), learning_rate=0.02, epochs=200, patience=2)
    train, rng = linear_rows(16), np.random.default_rng(5)
    validation = EncodedRows(train.x, rng.permutation(train.y))  # random targets, so the validation loss soon rises
    fitted = fit.fit(recipe, Architecture(4, hidden=(8,)), "regression", train, validation, lambda epoch: None)
    losses = [epoch.validation_loss or 0 for epoch in fitted.history]
    assert len(losses) < 200
    assert losses.index(min(losses)) == len(losses) - 1 - 2
    assert fitted.network is not None
    outputs = fitted.network.predict(validation.x)[:, 0]
    assert np.mean((outputs - validation.y) ** 2) == pytest.approx(min(losses), rel=1e-4)


def recall_of_rare_class(framework: Framework, class_weights: Any) -> float:
    part = classes(2, 400)
    rare = np.flatnonzero(part.y == 1)[:20]
    rows = np.concatenate([np.flatnonzero(part.y == 0), rare])
    noisy = EncodedRows(
        part.x[rows] + np.random.default_rng(0).normal(0, 2, (len(rows), 4)).astype(np.float32), part.y[rows]
    )
    recipe = replace(small_recipe(framework, "binary", class_weights=class_weights), epochs=12, learning_rate=0.03)
    fitted = run(recipe, "binary", noisy)
    assert fitted.network is not None
    return float((fitted.network.predict(noisy.x)[noisy.y == 1] > 0).mean())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_balanced_class_weights_raise_the_recall_of_a_rare_class(framework: Framework) -> None:
    assert recall_of_rare_class(framework, "balanced") > recall_of_rare_class(framework, "none") + 0.2


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 3)])
def test_label_smoothing_keeps_logits_small(framework: Framework, task: Task, outputs: int) -> None:
    part = classes(max(2, outputs))

    def largest(smoothing: float) -> float:
        recipe = small_recipe(framework, task, label_smoothing=smoothing)
        fitted = run(replace(recipe, epochs=8, learning_rate=0.1), task, part, outputs)
        assert fitted.network is not None
        return float(np.abs(fitted.network.predict(part.x)).max())

    assert largest(0.3) < 0.6 * largest(0.0)


def test_the_resulting_keras_model_has_no_optimizer() -> None:
    fitted = run(small_recipe("keras"), "regression", linear_rows())
    assert not fitted.keras.compiled
    assert getattr(fitted.keras, "optimizer", None) is None
    assert fitted.network is not None
    x = linear_rows().x
    np.testing.assert_allclose(fitted.network.predict(x), fitted.keras.predict_on_batch(x), atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "momentum", "rmsprop"])
def test_every_optimizer_of_keras_learns(optimizer: Any) -> None:
    recipe = replace(small_recipe("keras", optimizer=optimizer, clip_norm=1.0), schedule="cosine", learning_rate=0.02)
    losses = [epoch.loss for epoch in run(recipe, "regression", linear_rows()).history]
    assert losses[-1] < losses[0]


# Class weights


def test_balanced_class_weights_give_each_class_the_same_total() -> None:
    y = np.array([0, 0, 0, 1, 3])
    found = fit.class_weights(y, 4)
    assert found == pytest.approx([5 / 9, 5 / 3, 0, 5 / 3])
    assert sum(found[label] for label in y) == pytest.approx(len(y))
