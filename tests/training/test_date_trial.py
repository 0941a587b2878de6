"""The day of a date becomes a separate number if the errors of the network depend on single days."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.encoding.column_encodings import DateEncoding, QuantileEncoding
from models.encoding.encoder import Encoder
from models.feature import Feature
from models.network.network import DivergenceError
from models.schema import FeatureSchema
from training.build_dataset import load_dataset
from training.config import DataOptions, FitOptions
from training.date_trial import NAME, OTHER, fit_with_days, gain_by_days
from training.network_fit import EncodingChoices, NetworkFit, fit_network, recipe_for
from training.progress import Progress
from training.recipe import Recipe
from training.splitting import split_rows

ROWS = 300
DAY = 86_400.0
NETWORK = FitOptions(framework="numpy", network="ensemble", hidden=(16,), epochs=25, dropout=0.0, frequency_scale=2.0)


def write(path: Path, *, jumps: bool) -> DataOptions:
    """Write a table whose target has one level in each of ten periods of 30 days, or a linear trend."""
    rng = np.random.default_rng(0)
    day = rng.integers(0, 300, ROWS)
    levels = np.array([3, -3, 2, 3, -2, -3, 3, -3, 1, 3])[day // 30] if jumps else day / 50
    dates = pd.Timestamp("2023-01-01") + pd.to_timedelta(day, unit="D")
    y = levels + rng.normal(size=ROWS) / 3
    pd.DataFrame({"day": dates.strftime("%Y-%m-%d"), "x": rng.normal(size=ROWS), "y": y}).to_csv(path, index=False)
    return DataOptions(data=str(path), target="y", split="random")


def train(options: DataOptions) -> tuple[NetworkFit, Any]:
    dataset = load_dataset(options)
    split = split_rows(dataset, options)
    progress = Progress("t")

    def fit(recipe: Recipe, *, days: bool) -> NetworkFit:
        return fit_network(dataset, split, options, NETWORK, recipe, None, progress, choices=EncodingChoices(days=days))

    return fit(recipe_for(dataset, split, NETWORK), days=False), fit


def test_single_days_are_used_if_the_errors_depend_on_them(tmp_path: Path) -> None:
    plain, fit = train(write(tmp_path / "t.csv", jumps=True))
    assert gain_by_days(plain).is_clear
    used = fit_with_days(plain, lambda recipe: fit(recipe, days=True), lambda text: None)
    assert isinstance(used.encoder.numbers[0], DateEncoding)
    assert used.encoder.numbers[0].days is not None
    assert (used.fit.validation_loss or 0) < 0.8 * used.fit.trial_losses[OTHER]
    assert [notice for notice in used.dataset.notices if "single days of 'day' are used" in notice]


def test_single_days_are_not_tried_for_a_trend_or_a_split_by_time(tmp_path: Path) -> None:
    plain, _ = train(write(tmp_path / "t.csv", jumps=False))

    def fail_if_trained(recipe: Recipe) -> NetworkFit:
        raise AssertionError("a second network was trained")

    assert fit_with_days(plain, fail_if_trained, lambda text: None) is plain
    late = replace(plain, split=plain.split._replace(by_time=True))
    assert fit_with_days(late, fail_if_trained, lambda text: None) is late


def test_single_days_that_do_not_help_are_not_used(tmp_path: Path) -> None:
    plain, _ = train(write(tmp_path / "t.csv", jumps=True))
    kept = fit_with_days(plain, lambda recipe: plain, lambda text: None)  # the same losses
    assert kept.fit.network is plain.fit.network
    assert NAME in kept.fit.trial_losses

    def diverge(recipe: Recipe) -> NetworkFit:
        raise DivergenceError(1, float("nan"))

    assert fit_with_days(plain, diverge, lambda text: None) is plain


def test_days_of_a_date_are_a_quantile_encoded_number() -> None:
    schema = FeatureSchema(
        format=2,
        name="x",
        task="regression",
        target="y",
        features=[
            Feature(name="flag", kind="boolean", nullable=False),
            Feature(name="day", kind="date", nullable=True),
            Feature(name="size", kind="number", nullable=False),
        ],
    )
    seconds = np.append(np.arange(20.0) * DAY, np.nan)
    rows = {"flag": np.zeros(21), "day": seconds, "size": np.arange(21.0)}
    frame = schema.frames.from_columns(rows)
    target = np.arange(21.0)
    plain = Encoder.fit(schema, frame, target, numbers="quantile")
    encoder = Encoder.fit(schema, frame, target, numbers="quantile", days=True)
    again = Encoder.from_json(encoder.to_json())
    again.check(schema)
    assert encoder.width == plain.width + 1
    x = again.encode(frame)
    of_days = QuantileEncoding.fit("day", seconds)
    filled = np.where(np.isnan(seconds), of_days.fill, seconds)
    np.testing.assert_allclose(x[:, 0], np.interp(filled, *of_days.points), atol=1e-6)
    np.testing.assert_array_equal(x[:, 1:], plain.encode(frame))
    assert encoder.sources.tolist() == [1, *plain.sources.tolist()]
    np.testing.assert_allclose(np.vstack([again.encode(frame.take(slice(i, i + 1))) for i in range(21)]), x, atol=1e-6)
