"""A linear model that replaces the network: its mathematics, its selection, and the stored version."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from models import store
from models.architecture import Architecture, Epoch, Task
from models.encoding.encoder import Encoder
from training import linear_model, network_fit, pipeline
from training.build_dataset import load_dataset
from training.config import DataOptions, FitOptions
from training.encoded_rows import EncodedRows
from training.fit import training_run
from training.linear_candidate import compare, fit_with_penalty
from training.linear_model import LinearModel
from training.recipe import decide_recipe
from training.training_run import FitResult, Report, TrainingRun

WriteCsv = Callable[[str, Sequence[Sequence[object]]], Path]
CITIES = [f"city {number}" for number in range(12)]
ROWS = 300


def linear_rows(noise: float = 0.1, time_slope: float = 0.0) -> list[list[object]]:
    """Rows with a number, a date, a category with many levels, and a target that is linear in these columns."""
    rng = np.random.default_rng(3)
    lines: list[list[object]] = [["size", "day", "city", "y"]]
    for row in range(ROWS):
        size, city = rng.normal(), int(rng.integers(12))
        y = 2 * size + city / 4 + time_slope * row + noise * rng.normal()
        day = f"20{10 + row // 100}-{1 + row // 10 % 10:02}-{1 + 2 * (row % 10):02}"
        lines.append([round(size, 4), day, CITIES[city], round(y, 4)])
    return lines


def encoded(path: Path) -> tuple[Encoder, Any, Any]:
    dataset = load_dataset(DataOptions(data=str(path), target="y"))
    frame = dataset.schema.frames.from_columns(dataset.columns)
    encoder = Encoder.fit(dataset.schema, frame, dataset.target, bins=0)
    return encoder, encoder.encode(frame), encoder.target.apply(dataset.target)


@pytest.mark.parametrize("penalty", [0.3, 30.0])
def test_network_of_a_ridge_regression_predicts_like_scikit_learn(write_csv: WriteCsv, penalty: float) -> None:
    encoder, x, y = encoded(write_csv("t.csv", linear_rows()))
    assert encoder.tables
    columns = linear_model.one_hot_columns(x, encoder)
    assert columns.shape[1] == linear_model.column_count(encoder)
    [model] = linear_model.fit_each(columns, y, "regression", 0, None, [penalty])
    reference = Ridge(alpha=penalty).fit(columns, y).predict(columns)
    found = linear_model.to_network(model, encoder).predict(x)
    np.testing.assert_allclose(found[:, 0], reference, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_network_of_a_logistic_regression_predicts_like_scikit_learn(write_csv: WriteCsv, classes: int) -> None:
    encoder, x, y = encoded(write_csv("t.csv", linear_rows()))
    labels = np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))
    columns = linear_model.one_hot_columns(x, encoder)
    task: Task = "binary" if classes == 2 else "multiclass"
    [model] = linear_model.fit_each(columns, labels, task, classes, None, [10.0])
    logits = linear_model.to_network(model, encoder, temperature=2.0).predict(x) * 2.0
    reference = LogisticRegression(C=0.1, max_iter=500).fit(columns, labels).decision_function(columns)
    if classes > 2:
        logits, reference = (values - values.mean(axis=1, keepdims=True) for values in (logits, reference))
    np.testing.assert_allclose(logits.reshape(reference.shape), reference, atol=0.02)


def test_linear_model_predicts_empty_classes_and_class_shares() -> None:
    columns, y = np.random.default_rng(0).normal(size=(90, 2)), np.repeat([0, 2], [30, 60])
    for penalty, tolerance in ((1.0, 0.2), (math.inf, 0.0)):
        [model] = linear_model.fit_each(columns, y, "multiclass", 4, None, [penalty])
        p = np.exp(model.predict(columns))
        p /= p.sum(axis=1, keepdims=True)
        assert p[:, [1, 3]].max() < 0.02
        assert p[:, 2].mean() == pytest.approx(2 / 3, abs=0.01 + tolerance)
    [constant] = linear_model.fit_each(columns, columns[:, 0], "regression", 0, None, [math.inf])
    assert np.ptp(constant.predict(columns)) == 0


def test_model_with_the_smaller_validation_loss_is_chosen(write_csv: WriteCsv) -> None:
    messages: list[str] = []
    run, encoder = run_of(write_csv, messages.append)
    chosen = compare(run, encoder, network_result(run.recipe, 0.5))
    assert chosen.recipe.network == "linear"
    assert chosen.trial_losses["dropout 0.1"] == 0.5
    assert 0 < chosen.trial_losses["linear"] < 0.1
    assert chosen.kept_epoch.validation_loss == chosen.trial_losses["linear"]
    assert chosen.held_out is not None
    assert len(chosen.held_out.rows) == 250
    assert "a linear model is served: its validation loss is 0.0" in messages[0]
    network = compare(run, encoder, network_result(run.recipe, 1e-6))
    assert (network.recipe.network, len(messages)) == ("ensemble", 1)
    assert network.trial_losses["linear"] == pytest.approx(chosen.trial_losses["linear"])


def test_only_the_selected_linear_model_is_refitted(write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch) -> None:
    run, encoder = run_of(write_csv)
    columns = linear_model.one_hot_columns(np.asarray(run.pooled.x), encoder)
    fitted: list[float] = []

    def fit_each(columns: Any, y: Any, *arguments: Any) -> Iterator[LinearModel]:
        for model in original(columns, y, *arguments):
            fitted.append(model.penalty)
            yield model

    original = linear_model.fit_each
    monkeypatch.setattr(linear_model, "fit_each", fit_each)
    assert fit_with_penalty(run, columns, 300.0).penalty == 300.0
    assert fitted == [300.0]


def run_of(write_csv: WriteCsv, report: Report = lambda text: None) -> tuple[TrainingRun, Encoder]:
    """A training run with 250 linear rows, and the encoder."""
    encoder, x, y = encoded(write_csv("t.csv", linear_rows()))
    recipe = decide_recipe(FitOptions(framework="numpy"), "regression", 200, fold_rows=250)
    architecture = network_fit.choose_architecture(recipe, load(write_csv), encoder)
    rows = [EncodedRows(x[part], y[part]) for part in (slice(0, 200), slice(200, 250))]
    return training_run(recipe, architecture, "regression", rows[0], rows[1], report=report), encoder


def load(write_csv: WriteCsv) -> Any:
    return load_dataset(DataOptions(data=str(write_csv("t.csv", linear_rows())), target="y")).schema


def network_result(recipe: Any, loss: float) -> FitResult:
    return FitResult(None, None, "", [Epoch(1, 1, loss, loss, 0.0, 0.0)], 1.0, 0, recipe, {"dropout 0.1": loss})


@pytest.mark.parametrize(
    "options", [FitOptions(network="ensemble"), FitOptions(epochs=3), FitOptions(hidden=(8,)), FitOptions(dropout=0.1)]
)
def test_option_of_the_network_disables_the_linear_model(options: FitOptions) -> None:
    assert not decide_recipe(options, "regression", 200).compare_linear
    assert decide_recipe(FitOptions(framework="numpy", fit_seed=3, final="train"), "regression", 200).compare_linear


def test_linear_model_extrapolates_a_trend_with_a_split_by_time(
    bentoml_store: Path, write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target rises by 0.05 per row, so that the test targets, and the predictions, exceed all training targets."""
    monkeypatch.setattr("training.recipe.EXAMPLES", 100)
    path = write_csv("t.csv", linear_rows(time_slope=0.05))
    messages: list[str] = []
    stored, result = pipeline.run(
        DataOptions(data=str(path), target="y", split="time:day"),
        FitOptions(framework="numpy"),
        baselines=False,
        report=messages.append,
    )
    assert result.fit.recipe.network == "linear"
    assert result.metrics["r2"] > 0.9
    model = store.load(stored)
    [late, later] = model.predict_rows(
        [{"size": 0.0, "day": day, "city": "city 5"} for day in ("2012-12-01", "2014-06-01")]
    ).primary[:, 0]
    assert later > late + 1 > result.dataset.target[result.split.train].max() - 4
    training = json.loads((stored.path / "training.json").read_text("utf-8"))
    assert training["recipe"]["network"] == "linear"
    assert "linear" in training["tried"]
    assert "Model: a linear model, penalty" in (stored.path / "card.md").read_text("utf-8")


def test_random_target_is_predicted_by_a_constant(write_csv: WriteCsv) -> None:
    encoder, x, _ = encoded(write_csv("t.csv", linear_rows()))
    labels = np.random.default_rng(4).permutation(np.repeat([0, 1], [200, 100]))
    recipe = decide_recipe(FitOptions(framework="numpy"), "binary", 240, fold_rows=300)
    architecture = Architecture(encoder.width, link="sigmoid")
    train, validation = (EncodedRows(x[part], labels[part]) for part in (slice(0, 240), slice(240, 300)))
    run = training_run(recipe, architecture, "binary", train, validation)
    chosen = compare(run, encoder, network_result(recipe, 1.0))
    assert (chosen.recipe.network, chosen.recipe.penalty) == ("constant", None)
    assert chosen.network is not None
    p = 1 / (1 + np.exp(-chosen.network.predict(x)))
    np.testing.assert_allclose(p, 1 / 3, atol=0.01)


def test_further_rows_affect_only_the_served_linear_model(write_csv: WriteCsv) -> None:
    run, encoder = run_of(write_csv)
    further = replace(run, further=run.train.take(np.arange(50)))
    plain, more = (compare(one, encoder, network_result(run.recipe, 0.5)) for one in (run, further))
    assert plain.trial_losses == more.trial_losses
    assert plain.network
    assert more.network
    x = np.asarray(further.final_rows.x)
    columns = linear_model.one_hot_columns(x, encoder)
    expected = fit_with_penalty(further, columns, more.recipe.penalty or 0.0).predict(columns)
    np.testing.assert_allclose(more.network.predict(x), expected, atol=1e-4)
    assert not np.allclose(plain.network.predict(x), expected, atol=1e-4)
