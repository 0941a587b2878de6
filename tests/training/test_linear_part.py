"""A network with a linear part equals the weighted sum in NumPy and Keras, and is chosen by the validation loss."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.architecture import Architecture, Epoch, Link, Task
from models.encoding.encoder import Encoder
from models.network import network
from models.network.ensemble_layers import MemberMean
from models.network.network import Network
from training import linear_model, linear_part
from training.config import FitOptions
from training.encoded_rows import EncodedRows
from training.fit import training_run
from training.linear_model import LinearModel
from training.linear_part import MixtureWeights
from training.recipe import decide_recipe
from training.training_run import FitResult, HeldOutOutputs, TrainingRun

ROWS, NUMBERS, LEVELS = 200, 3, 12


class Tables:
    """The part of an encoder that a linear model needs: numbers, and categories with 12 groups each."""

    def __init__(self, categories: int) -> None:
        self.tables = [(LEVELS + 1, 5)] * categories
        self.width = NUMBERS + categories


def rows(categories: int) -> Any:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(ROWS, NUMBERS))
    return np.hstack([numbers, rng.integers(0, LEVELS + 1, (ROWS, categories))]).astype(np.float32)


def architecture_of(categories: int, outputs: int, link: Link) -> Architecture:
    return Architecture(
        NUMBERS,
        ((LEVELS + 1, 5),) * categories,
        hidden=(16, 16),
        outputs=outputs,
        scales=(1.0,) * NUMBERS,
        frequencies=4,
        embedding=2,
        members=3,
        adapters=True,
        link=link,
    )


def trained(architecture: Architecture) -> Network:
    """A network with initial weights whose member factors are changed, as by training."""
    rng = np.random.default_rng(1)
    net = network.build(architecture, rng)
    for name, array in net.parameters.items():
        if name.endswith((".r", ".s")):
            array *= rng.uniform(0.5, 1.5, array.shape)
        if "table" in name:
            array[:-1] = rng.normal(size=array[:-1].shape)
    return net


def linear(x: Any, encoder: Any, outputs: int) -> tuple[LinearModel, Any]:
    rng = np.random.default_rng(2)
    columns = linear_model.one_hot_columns(x, encoder)
    return LinearModel(1.0, rng.normal(size=(columns.shape[1], outputs)), rng.normal(size=outputs)), columns


@pytest.mark.parametrize("categories", [0, 2])
@pytest.mark.parametrize(("outputs", "link"), [(1, "linear"), (1, "sigmoid"), (3, "softmax")])
def test_member_outputs_are_the_weighted_sum_in_both_frameworks(categories: int, outputs: int, link: Link) -> None:
    encoder: Any = Tables(categories)
    x, architecture = rows(categories), architecture_of(categories, outputs, link)
    net = trained(architecture)
    model, columns = linear(x, encoder, outputs)
    mixed = linear_part.with_linear_part(net, model, MixtureWeights(0.6, 0.3), 50.0)
    assert mixed is not None
    members = [Network(one.layers[:-1]).predict(x) for one in (net, mixed)]
    expected = 0.6 * members[0] + 0.3 * model.predict(columns)[:, np.newaxis]
    np.testing.assert_allclose(members[1], expected, atol=2e-4)
    served = mixed.for_inference().forward(x)
    np.testing.assert_allclose(served, MemberMean(link).forward(expected.astype(np.float32)), atol=5e-4)
    keras = linear_model.to_keras(mixed, linear_part.widen_architecture(architecture))
    np.testing.assert_allclose(keras.predict(x, verbose=0), served, atol=5e-4)


@pytest.mark.parametrize(("categories", "outputs"), [(0, 1), (2, 3)])
def test_linear_model_has_equal_outputs_in_both_frameworks(categories: int, outputs: int) -> None:
    encoder: Any = Tables(categories)
    x = rows(categories)
    model, columns = linear(x, encoder, outputs)
    net = linear_model.to_network(model, encoder)
    keras = linear_model.to_keras(net, linear_model.architecture_of(encoder, outputs))
    np.testing.assert_allclose(net.predict(x), model.predict(columns), atol=1e-4)
    np.testing.assert_allclose(keras.predict(x, verbose=0), net.predict(x), atol=1e-4)


def test_a_member_that_ignores_an_input_gets_no_linear_part() -> None:
    encoder: Any = Tables(0)
    x, net = rows(0), trained(architecture_of(0, 1, "linear"))
    net.parameters["1.shared_dense.r"][1, 0] = 0.0
    model, _ = linear(x, encoder, 1)
    assert linear_part.with_linear_part(net, model, MixtureWeights(0.5, 0.5), 50.0) is None


def test_shares_of_network_and_linear_part_minimise_the_loss() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=500)
    network_outputs = (y + rng.normal(size=500))[:, np.newaxis, np.newaxis].astype(np.float32)
    linear_outputs = (y + 0.5 * rng.normal(size=500))[:, np.newaxis]
    shares = linear_part.fit_mixture_weights("regression", network_outputs, linear_outputs, y, None)
    # The shares are inversely proportional to the variances of the errors, 1 and 0.25.
    assert shares.network == pytest.approx(0.2, abs=0.05)
    assert shares.network + shares.linear == pytest.approx(1)
    labels = (rng.random(2000) < 1 / (1 + np.exp(-2 * np.linspace(-2, 2, 2000)))).astype(int)
    logits = np.linspace(-2, 2, 2000)[:, np.newaxis]
    noise = rng.normal(size=(2000, 1, 1)).astype(np.float32)
    found = linear_part.fit_mixture_weights("binary", noise, logits, labels, None)
    assert found.linear == pytest.approx(2, abs=0.25)
    assert found.network < 0.2


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_a_linear_part_is_added_if_the_validation_loss_falls(task: Task) -> None:
    """The held-out outputs of the network use only one column, and the linear model finds the other column."""
    encoder, run, messages = training(task)
    x, y = np.asarray(run.pooled.x), run.pooled.y
    signal = 0.9 * x[:, :1] if task == "regression" else 2 * x[:, :1]
    fitted = network_result(run, np.repeat(signal[:, np.newaxis], 3, axis=1), loss=0.9)
    result = linear_part.add_linear_part(run, encoder, fitted)
    assert result.recipe.linear_part is not None
    assert result.validation_loss == result.trial_losses[linear_part.NAME] < 0.9
    assert result.network is not None
    assert fitted.network is not None
    assert result.network.predict(x).shape == fitted.network.predict(x).shape
    assert "a linear part is added" in messages[0]
    perfect = network_result(run, np.repeat(signal[:, np.newaxis], 3, axis=1), loss=1e-9)
    assert linear_part.add_linear_part(run, encoder, perfect) is perfect
    one_set = replace(run, recipe=replace(run.recipe, folds=1))
    assert linear_part.add_linear_part(one_set, encoder, fitted) is fitted
    assert len(y) == ROWS


def training(task: Task) -> tuple[Encoder, TrainingRun, list[str]]:
    rng = np.random.default_rng(5)
    x = rows(0)
    y: Any = x[:, 0] + x[:, 1] + 0.1 * rng.normal(size=ROWS)
    link: Link = "linear" if task == "regression" else "sigmoid"
    y = y if task == "regression" else (y + 0.3 * rng.normal(size=ROWS) > 0).astype(int)
    recipe = decide_recipe(FitOptions(framework="numpy"), task, 160, fold_rows=ROWS)
    messages: list[str] = []
    train, validation = (EncodedRows(x[part], y[part]) for part in (slice(0, 160), slice(160, ROWS)))
    run = training_run(recipe, architecture_of(0, 1, link), task, train, validation, report=messages.append)
    encoder: Any = Tables(0)
    return encoder, run, messages


def network_result(run: TrainingRun, outputs: Any, loss: float) -> FitResult:
    """The result of a fit. outputs: those of the ensemble members, in the order of the pooled rows."""
    from training.folds import draw_folds

    rows_of_folds = np.concatenate([fold.validation for fold in draw_folds(run)])
    held_out = HeldOutOutputs(rows_of_folds, outputs[rows_of_folds])
    return FitResult(
        network=trained(run.architecture),
        keras=None,
        reason="",
        history=[Epoch(1, 1, loss, loss, 0.0, 0.0)],
        seconds=1.0,
        parameters=0,
        recipe=run.recipe,
        trial_losses={},
        member_outputs=held_out,
    )
