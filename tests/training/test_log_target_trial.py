"""A regression learns the logarithm of a skewed target if this lowers the validation loss."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.network.network import DivergenceError
from training import log_target_trial, pipeline
from training.build_dataset import load_dataset
from training.config import DataOptions, FitOptions
from training.final_fit import fit_all_rows
from training.log_target_trial import NAME, OTHER, fit_with_logarithm
from training.network_fit import EncodingChoices, NetworkFit, fit_network, recipe_for
from training.progress import Progress
from training.recipe import Recipe
from training.splitting import split_rows

ROWS = 400
NETWORK = FitOptions(framework="numpy", network="ensemble", hidden=(16,), epochs=12, dropout=0.0)
Fit = Callable[..., NetworkFit]


def write(path: Path, *, product: bool = True, smallest: float = 0.0, split: str = "random") -> DataOptions:
    """Write a table whose target is a product of factors with a random error, or a sum of columns with such errors."""
    rng = np.random.default_rng(0)
    x, z, noise = rng.normal(size=(3, ROWS))
    y = np.exp(x + z / 2 + noise / 3) if product else np.maximum(x, 0) ** 2 * 3 + z + noise / 3
    table = {"day": np.arange(ROWS), "x": x, "z": z, "y": y - y.min() * (not product) + smallest}
    pd.DataFrame(table).to_csv(path, index=False)
    return DataOptions(data=str(path), target="y", split=split, drop=() if "day" in split else ("day",))


def train(options: DataOptions) -> tuple[NetworkFit, Fit]:
    dataset = load_dataset(options)
    split = split_rows(dataset, options)
    progress = Progress("t")

    def fit(recipe: Recipe, further: np.ndarray | None = None, *, log_target: bool = True) -> NetworkFit:
        choices = EncodingChoices(log_target=log_target)
        return fit_network(dataset, split, options, NETWORK, recipe, None, progress, choices=choices, further=further)

    return fit(recipe_for(dataset, split, NETWORK), log_target=False), fit


def no_report(text: str) -> None:
    """Ignore the message."""


def test_logarithm_is_learned_if_errors_grow_with_the_target(tmp_path: Path) -> None:
    plain, fit = train(write(tmp_path / "t.csv"))
    used = fit_with_logarithm(plain, fit, no_report)
    assert used.fit.recipe.log_target
    assert used.fit.trial_losses[NAME] == pytest.approx(log_target_trial.squared_errors(used).mean())
    assert used.fit.trial_losses[NAME] < 0.9 * used.fit.trial_losses[OTHER]
    assert f"{NAME}, linear" in used.fit.trial_losses
    assert [notice for notice in used.dataset.notices if "the logarithm of the target is used" in notice]
    rows, outputs = log_target_trial.held_out(used)
    target = used.dataset.target[rows]
    predicted = used.encoder.target.unscale(outputs.outputs)
    assert predicted.mean() == pytest.approx(target.mean(), rel=0.02)  # clipping changes the mean a little
    model, head = pipeline.model_with_scale(used, used.fit.recipe, no_report)
    frame, truth = used.frame.take(used.split.test).load(), used.dataset.target[used.split.test]
    before = pipeline.build_model(plain.fit, plain.dataset.schema, plain.encoder)
    errors = [np.mean((one.predict(frame).primary[:, 0] - truth) ** 2) for one in (model, before)]
    assert errors[0] < 0.9 * errors[1]
    assert head is not None
    outputs_with_scale = model.with_scale.predict(frame)
    assert (outputs_with_scale.extras["scale"] > 0).all()
    large = outputs_with_scale.primary[:, 0] > np.median(truth)
    scales = outputs_with_scale.extras["scale"]
    assert scales[large].mean() > 1.5 * scales[~large].mean()


def test_final_fit_keeps_the_factor_of_the_logarithm(tmp_path: Path) -> None:
    plain, fit = train(write(tmp_path / "t.csv"))
    used = fit_with_logarithm(plain, fit, no_report)
    final = fit_all_rows(used, fit, no_report)
    assert final.encoder.target == used.encoder.target
    assert final.encoder.target.logarithm is not None
    assert final.encoder.target.logarithm.factor != 1.0


@pytest.mark.parametrize(("smallest", "product", "split"), [(-1.0, True, "random"), (0.0, True, "time:day")])
def test_logarithm_is_not_tried(tmp_path: Path, smallest: float, product: bool, split: str) -> None:
    plain, _ = train(write(tmp_path / "t.csv", product=product, smallest=smallest, split=split))

    def fail_if_trained(recipe: Recipe) -> NetworkFit:
        raise AssertionError("a second network was trained")

    assert fit_with_logarithm(plain, fail_if_trained, no_report) is plain


def test_logarithm_that_does_not_help_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, fit = train(write(tmp_path / "t.csv", product=False))
    reports: list[str] = []
    kept = fit_with_logarithm(plain, fit, reports.append)
    assert kept.encoder is plain.encoder
    assert not kept.fit.recipe.log_target
    assert {NAME, OTHER} < kept.fit.trial_losses.keys()
    assert len(reports) == 2  # no messages about the linear part of a model that is not served

    def diverge(recipe: Recipe) -> NetworkFit:
        raise DivergenceError(1, float("nan"))

    assert fit_with_logarithm(plain, diverge, no_report) is plain
    monkeypatch.setattr(log_target_trial, "MAX_ROWS", 300)
    assert fit_with_logarithm(plain, fit, no_report) is plain
    without_held_out = replace(plain, fit=replace(plain.fit, held_out=None))
    assert fit_with_logarithm(without_held_out, diverge, no_report) is without_held_out
