"""The ensemble: its trials, seeds, schedule, calibration and divergence, with both frameworks."""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.architecture import Architecture, Epoch, Link, Task
from models.network.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from models.network.network import DivergenceError
from training import ensemble, fit, fit_numpy, folds, ray_trainer, temperature
from training.config import FitOptions, Framework
from training.encoded_rows import EncodedRows
from training.folds import draw_folds
from training.recipe import Recipe, decide_recipe
from training.training_run import FitResult, TrainingRun, TrialResult

FRAMEWORKS: list[Framework] = ["numpy", "keras"]


def curved_rows(rows: int = 192) -> EncodedRows:
    x = np.random.default_rng(1).normal(size=(rows, 3)).astype(np.float32)
    return EncodedRows(x, np.sin(3 * x[:, 0]).astype(np.float64))


def small_recipe(framework: Framework, task: Task = "regression", **changes: Any) -> Recipe:
    """A recipe of three epochs and two small members, without a final fit, so that the result is the selected trial."""
    options = FitOptions(
        framework=framework, network="ensemble", hidden=(8,), members=2, epochs=3, batch_size=32, final="train"
    )
    return decide_recipe(replace(options, **changes), task, 192)


def run(chosen: Recipe) -> FitResult:
    network = Architecture(
        3, hidden=chosen.hidden, dropout=chosen.dropout, scales=(1.0,) * 3, members=chosen.members, adapters=True
    )
    return fit.fit(chosen, network, "regression", curved_rows(), curved_rows(), lambda epoch: None)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_trial_runs_and_the_smallest_validation_loss_is_selected(framework: Framework) -> None:
    fitted = run(small_recipe(framework))
    assert set(fitted.trial_losses) == {"dropout 0.3", "dropout 0.2", "dropout 0.1", "dropout 0"}
    assert fitted.kept_epoch.validation_loss == min(fitted.trial_losses.values())
    assert fitted.trial_losses[f"dropout {fitted.recipe.dropout:g}"] == min(fitted.trial_losses.values())
    assert fitted.network is not None
    part = curved_rows()
    found = float(np.mean((fitted.network.predict(part.x)[:, 0] - part.y) ** 2))
    assert found == pytest.approx(min(fitted.trial_losses.values()), rel=1e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_weights_of_the_best_epoch_are_kept(framework: Framework) -> None:
    """The validation targets are random, so that the validation loss soon rises."""
    train = curved_rows(32)
    validation = EncodedRows(train.x, np.random.default_rng(5).permutation(train.y))
    chosen = small_recipe(framework, dropout=0.0, epochs=30, learning_rate=0.05)
    network = Architecture(3, hidden=(8,), scales=(1.0,) * 3, members=2, adapters=True)
    fitted = fit.fit(chosen, network, "regression", train, validation, lambda epoch: None)
    losses = [epoch.validation_loss or 0.0 for epoch in fitted.history]
    assert len(losses) == 30
    assert fitted.kept_epoch.number == 1 + losses.index(min(losses)) < 30
    assert min(losses) < 0.9 * losses[-1]
    assert fitted.network is not None
    found = np.mean((fitted.network.predict(validation.x)[:, 0] - validation.y) ** 2)
    assert found == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_validation_loss_of_classes_is_their_log_loss_after_calibration(framework: Framework) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y = np.where(rng.random(400) < 0.25, rng.integers(0, 2, 400), x[:, 0] > 0)
    train, validation = EncodedRows(x[:200], y[:200]), EncodedRows(x[200:], y[200:])
    chosen = small_recipe(framework, dropout=0.0, epochs=20, task="binary")
    network = Architecture(3, hidden=(32,), scales=(1.0,) * 3, members=2, adapters=True, link="sigmoid")
    fitted = fit.fit(chosen, network, "binary", train, validation, lambda epoch: None)
    assert fitted.network is not None
    calibrated = BinaryCrossEntropy()(fitted.network.predict(validation.x), validation.y)[0]
    assert fitted.kept_epoch.validation_loss == pytest.approx(calibrated, abs=0.01)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_only_equal_seeds_give_equal_ensembles(framework: Framework) -> None:
    outputs = []
    for seed in (1, 1, 2):
        network = run(small_recipe(framework, fit_seed=seed, dropout=0.2)).network
        assert network is not None
        outputs.append(network.predict(curved_rows().x))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize(("task", "outputs", "link"), [("binary", 1, "sigmoid"), ("multiclass", 3, "softmax")])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_confidence_of_classes_is_calibrated_on_the_validation_set(
    framework: Framework, task: Task, outputs: int, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of the labels are random, and a network without dropout memorises them."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) * (outputs > 1) + (x[:, 1] > 0)
    y = np.where(rng.random(400) < 0.25, rng.integers(0, max(outputs, 2), 400), y)
    train, validation = EncodedRows(x[:200], y[:200]), EncodedRows(x[200:], y[200:])
    chosen = small_recipe(framework, dropout=0.0, label_smoothing=0.0, epochs=60, task=task)
    network = Architecture(3, hidden=(32,), scales=(1.0,) * 3, members=2, adapters=True, outputs=outputs, link=link)
    loss = BinaryCrossEntropy() if task == "binary" else CategoricalCrossEntropy()
    fitted = fit.fit(chosen, network, task, train, validation, lambda epoch: None)
    assert fitted.network is not None
    assert fitted.temperature > 1.2
    calibrated = fitted.network.predict(x[200:])
    if fitted.keras:  # a second fit with Keras would be slow, because it is compiled again
        np.testing.assert_allclose(fitted.keras.predict(x[200:], verbose=0), calibrated, atol=1e-4)
        logits = fitted.keras.layers[-2]
        logits.set_weights([parameter * fitted.temperature for parameter in logits.get_weights()])
        raw = fitted.keras.predict(x[200:], verbose=0)
    else:
        monkeypatch.setattr(temperature, "calibrate", lambda *arguments: 1.0)
        uncalibrated = fit.fit(chosen, network, task, train, validation, lambda epoch: None).network
        assert uncalibrated is not None
        raw = uncalibrated.predict(x[200:])
    assert loss(calibrated, y[200:])[0] < 0.995 * loss(raw, y[200:])[0]


def test_diverged_trial_does_not_affect_the_others() -> None:
    chosen, messages = small_recipe("numpy"), list[str]()

    def train(one: Recipe, diverged: tuple[float, ...]) -> TrialResult:
        if one.dropout in diverged:
            raise DivergenceError(7, float("inf"))
        return TrialResult(one, [Epoch(1, 1, 0.5, one.dropout, 0.0, 0.0)], None, np.empty(0), np.arange(0))

    best, losses = ensemble.select_trial(chosen, lambda one: train(one, (0.0,)), messages.append)
    assert (best.recipe.dropout, set(losses)) == (0.1, {"dropout 0.3", "dropout 0.2", "dropout 0.1"})
    assert "the training with dropout 0 diverged in epoch 7" in messages
    with pytest.raises(DivergenceError):
        ensemble.select_trial(chosen, lambda one: train(one, (0.3, 0.2, 0.1, 0.0)), messages.append)


def test_learning_rate_rises_and_then_falls_to_zero() -> None:
    rates = [ensemble.schedule(small_recipe("keras", epochs=40), 6)(step) for step in range(240)]
    assert rates.index(max(rates)) in (5, 6)
    assert rates[-1] < 1e-3 * max(rates)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_final_fit_also_learns_from_the_validation_rows(framework: Framework) -> None:
    """The train rows have x < 0, and the validation rows also x > 0, where the slope is larger."""
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, (600, 1)).astype(np.float32)
    y = np.where(x[:, 0] < 0, x[:, 0], 2 * x[:, 0]).astype(np.float64)
    train, validation = (EncodedRows(x[rows], y[rows]) for rows in (x[:, 0] < 0, x[:, 0] > -0.5))
    network, errors = Architecture(1, hidden=(16,), members=2, adapters=True), dict[str, float]()
    trial_outputs: npt.NDArray[Any] = np.empty(0)
    for final in ("train", "validation"):
        messages: list[str] = []
        chosen = small_recipe(framework, dropout=0.0, epochs=20, learning_rate=0.02, hidden=(16,), final=final)
        fitted = fit.fit(chosen, network, "regression", train, validation, lambda epoch: None, messages.append)
        assert any("train and validation rows" in message for message in messages) == (final == "validation")
        assert len(fitted.history) == 20
        assert fitted.network is not None
        errors[final] = float(np.mean((fitted.network.predict(x[x[:, 0] > 0])[:, 0] - y[x[:, 0] > 0]) ** 2))
        if final == "validation":
            assert fitted.held_out is not None
            np.testing.assert_allclose(fitted.held_out.outputs, trial_outputs, atol=1e-4)
            assert fitted.held_out.rows.tolist() == list(range(len(train.x), len(train.x) + len(validation.x)))
        trial_outputs = fitted.network.predict(validation.x)
    assert errors["validation"] < 0.3 * errors["train"]


def test_the_network_of_the_trial_is_kept_if_the_final_fit_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*arguments: Any) -> None:
        raise DivergenceError(2, float("nan"))

    fitted = run(small_recipe("numpy"))
    monkeypatch.setattr(fit_numpy, "_refit", diverge)
    kept = run(small_recipe("numpy", final="validation"))
    assert fitted.network is not None
    assert kept.network is not None
    np.testing.assert_array_equal(kept.network.predict(curved_rows().x), fitted.network.predict(curved_rows().x))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_trial_has_its_own_weight_decay(framework: Framework) -> None:
    norms = []
    for decay in (0.0, 20.0):
        settings = {"dropout": 0.0, "weight_decay": decay}
        fitted = run(replace(small_recipe(framework, epochs=20), trials=(settings,)))
        assert fitted.network is not None
        norms.append(float(np.linalg.norm(fitted.network.weights()["1.shared_dense.W"])))
    assert norms[1] < 0.7 * norms[0]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_folds_compare_the_trials_of_a_small_table(framework: Framework) -> None:
    """The loss of a trial is computed on all rows, each predicted by a network that was not trained on it."""
    chosen = replace(small_recipe(framework, dropout=0.0, epochs=4, final="validation"), folds=5)
    network = Architecture(3, hidden=(8,), scales=(1.0,) * 3, members=2, adapters=True)
    epochs, messages = list[Epoch](), list[str]()
    train, validation = curved_rows(150), EncodedRows(curved_rows(200).x[150:], curved_rows(200).y[150:])
    fitted = fit.fit(chosen, network, "regression", train, validation, epochs.append, messages.append)
    assert len(epochs) == max(1, round(fitted.kept_epoch.number * (1.25 if framework == "keras" else 1)))  # final fit
    assert messages[0].startswith("dropout 0, 5 folds: best epoch ")
    assert len(fitted.history) == 4
    assert fitted.held_out is not None
    assert sorted(fitted.held_out.rows.tolist()) == list(range(200))
    assert (fitted.kept_epoch.validation_loss or 0.0) < np.var(curved_rows(200).y)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_trials_of_large_tables_use_a_sample_and_the_final_fit_all_rows(
    framework: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "MAX_TRIAL_ROWS", 64)
    chosen = small_recipe(framework, dropout=0.0, final="validation")
    network = Architecture(3, hidden=(8,), scales=(1.0,) * 3, members=2, adapters=True)
    epochs, messages = list[Epoch](), list[str]()
    fitted = fit.fit(chosen, network, "regression", curved_rows(), curved_rows(), epochs.append, messages.append)
    assert messages[0].startswith("each trial is trained on 64 of 192 train rows, drawn at random")
    final = epochs[len(fitted.history) :]
    rows = 64 if framework == "keras" else 384  # rows of an epoch of the final fit
    assert len(final) * rows >= 384
    of_trials = draw_folds(
        TrainingRun(chosen, network, "regression", curved_rows(), curved_rows(), None, epochs.append, print)
    )
    assert (len(set(of_trials[0].train)), of_trials[0].validation.tolist()) == (64, [*range(192, 384)])
    whole = replace(chosen, refit=False)
    run_without_final_fit = TrainingRun(
        whole, network, "regression", curved_rows(), curved_rows(), None, epochs.append, print
    )
    assert len(draw_folds(run_without_final_fit)[0].train) == 192


class ReversedTrainer:
    """A trainer that trains trials in reverse order, because other machines may finish them in any order."""

    def train_trials(self, run: TrainingRun, recipes: Sequence[Recipe]) -> Iterator[TrialResult | DivergenceError]:
        bare = pickle.loads(pickle.dumps(ray_trainer.without_rows(replace(run, trainer=None)).recipe))
        assert bare == run.recipe
        results = [fit.fit_trial(replace(run, trainer=None), recipe) for recipe in reversed(recipes)]
        return reversed(results)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_trials_of_another_process_give_the_same_network(framework: Framework) -> None:
    chosen = small_recipe(framework)
    network = Architecture(3, hidden=(8,), scales=(1.0,) * 3, members=2, adapters=True)
    parts = chosen, network, "regression", curved_rows(), curved_rows(), lambda epoch: None
    here = fit.fit(*parts)  # type: ignore[arg-type]
    elsewhere = fit.fit(*parts, trainer=ReversedTrainer())  # type: ignore[arg-type]
    assert elsewhere.trial_losses == here.trial_losses
    assert here.network is not None
    assert elsewhere.network is not None
    for name, array in here.network.weights().items():
        np.testing.assert_array_equal(array, elsewhere.network.weights()[name])


def test_divergence_error_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(DivergenceError(3, float("inf"))))
    assert (error.epoch, str(error)) == (3, str(DivergenceError(3, float("inf"))))


def test_folds_are_stratified_and_cover_every_row_once() -> None:
    y = np.repeat([0, 1], [180, 20])
    x = np.zeros((200, 3), np.float32)
    chosen = replace(small_recipe("numpy", task="binary"), folds=5)
    parts = EncodedRows(x[:150], y[:150]), EncodedRows(x[150:], y[150:])
    architecture = Architecture(3, members=2, adapters=True, link="sigmoid")
    drawn = draw_folds(TrainingRun(chosen, architecture, "binary", *parts, None, lambda epoch: None, print))
    assert sorted(np.concatenate([fold.validation for fold in drawn])) == list(range(200))
    for fold in drawn:
        assert y[fold.validation].sum() == 4
        assert sorted([*fold.train, *fold.validation]) == list(range(200))
