"""Level means are used if the errors of the network depend on the levels of a category with many levels."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import store
from models.encoding.column_encodings import CategoryEncoding
from models.encoding.level_means import LevelMeans
from models.network.network import DivergenceError
from training import date_trial, linear_candidate, linear_part, pipeline, reading, recipe
from training.build_dataset import load_dataset
from training.config import DataOptions, FitOptions
from training.final_fit import training_rows_of
from training.level_trial import (
    MIN_LEVELS,
    NAME,
    OTHER,
    categories_with_gain,
    fit_with_level_means,
    gain_by_error_means,
    gain_by_target_means,
)
from training.network_fit import EncodingChoices, NetworkFit, compare_linear, fit_network, recipe_for
from training.progress import Progress
from training.recipe import Recipe
from training.splitting import split_rows
from training.training_run import TrainingRun

LEVELS, ROWS_PER_LEVEL = 100, 5
NETWORK = FitOptions(framework="numpy", network="ensemble", hidden=(16,), epochs=12, dropout=0.0)


def write(path: Path, *, effect: float, task: str = "regression", levels: int = LEVELS) -> DataOptions:
    """Write a table with a number, and a category whose level adds a random number to the target. effect: the standard
    deviation of this number."""
    rng = np.random.default_rng(0)
    rows = LEVELS * ROWS_PER_LEVEL
    shop, x = np.arange(rows) % levels, rng.normal(size=rows)
    y = x + effect * rng.normal(size=levels)[shop] + rng.normal(size=rows) / 2
    target = {"regression": y, "binary": y > 0, "multiclass": np.digitize(y, [-0.7, 0.7])}[task]
    names = [f"shop {number}" for number in shop.tolist()]
    table = pd.DataFrame({"x": x, "shop": names, "y": target if task == "regression" else target.astype(str)})
    table.sample(frac=1, random_state=0).to_csv(path, index=False)
    return DataOptions(data=str(path), target="y", split="random", categorical=("shop",))


def train(options: DataOptions) -> tuple[NetworkFit, Any]:
    dataset = load_dataset(options)
    split = split_rows(dataset, options)
    progress = Progress("t")

    def fit(recipe: Recipe, level_means: tuple[str, ...]) -> NetworkFit:
        choices = EncodingChoices(level_means=level_means)
        return fit_network(dataset, split, options, NETWORK, recipe, None, progress, choices=choices)

    return fit(recipe_for(dataset, split, NETWORK), ()), fit


def fail_if_trained(recipe: Recipe, level_means: tuple[str, ...]) -> NetworkFit:
    raise AssertionError("a second network was trained")


def error_of(trained: NetworkFit) -> float:
    model = pipeline.build_model(trained.fit, trained.dataset.schema, trained.encoder)
    predicted = model.predict(trained.frame.take(trained.split.test).load()).primary[:, 0]
    return float(np.mean((predicted - trained.dataset.target[trained.split.test]) ** 2))


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_level_means_are_used_if_levels_with_few_rows_differ(tmp_path: Path, task: str) -> None:
    plain, fit = train(write(tmp_path / "t.csv", effect=2.0, task=task))
    assert categories_with_gain(plain) == ["shop"]
    used = fit_with_level_means(plain, fit, lambda text: None)
    assert used.choices.level_means == ("shop",)
    part = used.encoder.categories[0]
    assert isinstance(part, CategoryEncoding)
    assert part.means is not None
    assert part.means.width == (3 if task == "multiclass" else 1)
    assert used.validation_loss < 0.9 * used.fit.trial_losses[OTHER]
    assert [notice for notice in used.dataset.notices if "level means of 'shop' are used" in notice]
    if task == "regression":
        assert error_of(used) < 0.7 * error_of(plain)


def test_linear_part_is_fitted_to_out_of_fold_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means that contain the target of their own row would give the mean too large a weight."""
    plain, fit = train(write(tmp_path / "t.csv", effect=2.0))
    used = fit_with_level_means(plain, fit, lambda text: None)
    fitted, fit_with_penalty = [], linear_candidate.fit_with_penalty

    def record(run: TrainingRun, columns: Any, penalty: float) -> Any:
        fitted.append(np.asarray(run.final_rows.x))
        return fit_with_penalty(run, columns, penalty)

    monkeypatch.setattr(linear_candidate, "fit_with_penalty", record)
    monkeypatch.setattr(linear_part, "MIN_GAIN", -1.0)  # the linear part is always fitted
    compare_linear(used, lambda text: None)
    pooled = np.concatenate([used.split.train, used.split.validation])
    np.testing.assert_array_equal(fitted[0], used.encoded.x[pooled])
    assert (fitted[0] != used.encoder.encode(used.frame.load())[pooled]).any()


def test_few_validation_rows_of_each_level_are_enough() -> None:
    """The means of the errors of two validation rows say little about a level; the target of ten train rows does."""
    rng = np.random.default_rng(0)
    codes, effects = np.repeat(np.arange(200), 12), rng.normal(scale=0.4, size=200)
    y = (effects[codes] + rng.normal(size=len(codes)))[:, np.newaxis]
    rows = np.flatnonzero(np.arange(len(codes)) % 12 < 2)
    assert not gain_by_error_means(codes[rows], y[rows], 200).is_clear
    assert gain_by_target_means(codes, y, rows, y[rows], 200).is_clear
    assert gain_by_target_means(codes, y, np.arange(len(codes)), y, 200).is_clear  # validation rows of all folds
    noise = rng.normal(size=(len(codes), 1))
    assert not gain_by_target_means(codes, y, rows, noise[rows], 200).is_clear
    assert not gain_by_target_means(codes, noise, rows, noise[rows], 200).is_clear


def test_second_network_is_not_trained_for_a_category_without_effect_or_with_few_levels(tmp_path: Path) -> None:
    noise, _ = train(write(tmp_path / "t.csv", effect=0.0))
    assert fit_with_level_means(noise, fail_if_trained, lambda text: None) is noise
    few, _ = train(write(tmp_path / "t.csv", effect=2.0, levels=MIN_LEVELS - 1))
    assert fit_with_level_means(few, fail_if_trained, lambda text: None) is few


def test_level_means_of_noise_do_not_lower_the_validation_loss(tmp_path: Path) -> None:
    """The trial reads only means of its own train rows, so noise does not look useful."""
    plain, fit = train(write(tmp_path / "t.csv", effect=0.0, levels=25))
    second = fit(replace(plain.fit.recipe, trials=()), ("shop",))
    assert second.validation_loss > 0.97 * plain.validation_loss


def test_level_means_that_do_not_help_are_not_used(tmp_path: Path) -> None:
    plain, _ = train(write(tmp_path / "t.csv", effect=2.0))
    kept = fit_with_level_means(plain, lambda recipe, names: plain, lambda text: None)  # the same losses
    assert kept.fit.network is plain.fit.network
    assert kept.choices.level_means == ()
    assert NAME in kept.fit.trial_losses

    def diverge(recipe: Recipe, level_means: tuple[str, ...]) -> NetworkFit:
        raise DivergenceError(1, float("nan"))

    assert fit_with_level_means(plain, diverge, lambda text: None) is plain


def test_table_on_disk_or_with_too_few_validation_rows_has_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = write(tmp_path / "t.csv", effect=2.0)
    plain, _ = train(options)
    monkeypatch.setattr("training.level_trial.MIN_ROWS", 1000)
    assert categories_with_gain(plain) == []
    monkeypatch.undo()
    monkeypatch.setattr(reading, "LARGE_BYTES", 0)
    on_disk, _ = train(options)
    assert categories_with_gain(on_disk) == []


def test_served_version_with_a_final_fit_has_the_means_of_all_rows(
    tmp_path: Path, bentoml_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default recipe with few epochs: single days and level means are chosen, served and fitted again by
    `--final all`."""
    monkeypatch.setattr(recipe, "EXAMPLES", 2000)
    monkeypatch.setattr(recipe, "TRIALS", recipe.TRIALS[3:])
    monkeypatch.setattr(recipe, "HIDDEN", (16,))
    options = write(tmp_path / "t.csv", effect=2.0)
    table = pd.read_csv(tmp_path / "t.csv")
    day = np.random.default_rng(1).integers(0, 300, len(table))
    table["day"] = (pd.Timestamp("2023-01-01") + pd.to_timedelta(day, unit="D")).strftime("%Y-%m-%d")
    table["y"] += np.array([6, -6, 4, 6, -4, -6, 6, -6, 2, 6])[day // 30]
    table.to_csv(tmp_path / "t.csv", index=False)
    fit_options = FitOptions(framework="numpy", final="all")
    stored, result = pipeline.run(options, fit_options, baselines=False, report=lambda text: None)
    assert OTHER in result.fit.trial_losses
    assert result.final is not None
    assert result.final.choices.level_means == ("shop",)
    assert result.final.choices.days
    assert date_trial.OTHER in result.fit.trial_losses
    learned = training_rows_of(result.final, result.fit.recipe)
    target = (result.dataset.target - result.dataset.target[learned].mean()) / result.dataset.target[learned].std()
    expected = LevelMeans.fit(result.frame.load().codes[learned, 0], target[learned][:, np.newaxis], LEVELS)
    served = store.load(stored)
    part = served.encoder.categories[0]
    assert isinstance(part, CategoryEncoding)
    assert part.means is not None
    np.testing.assert_allclose(part.means.columns, expected.columns, atol=1e-5)
    network = pipeline.build_model(result.final.fit, served.schema, served.encoder)
    for row in ({"x": 0.5, "shop": "shop 3", "day": "2023-05-01"}, {"x": 0.5, "shop": "new", "day": "2023-01-09"}):
        np.testing.assert_array_equal(served.predict_rows([row]).primary, network.predict_rows([row]).primary)
    tried = json.loads((stored.path / "training.json").read_text("utf-8"))["tried"]
    assert OTHER in tried
    assert "level means of 'shop' are used" in (stored.path / "card.md").read_text("utf-8")
