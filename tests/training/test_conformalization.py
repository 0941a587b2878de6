"""Scores from held-out rows: their coverage on synthetic noise, groups, and the figures in the card."""

import math

import numpy as np
import pytest

from models.feature import Feature, TrainingRange
from models.frame import Frame
from models.outputs import Outputs
from models.schema import FeatureSchema
from models.tabular_model import SCALE
from training import conformalization
from training.conformalization import HeldOutRows, covered_by_folds, fit_uncertainty, uneven_category
from training.coverage_report import report

LEVELS: list[bool | int | float | str] = ["north", "south"]
FEATURES = [
    Feature(name="x", kind="number", nullable=False, seen=TrainingRange(min=0, max=1)),
    Feature(name="region", kind="category", nullable=False, seen=TrainingRange(levels=LEVELS)),
]
REGRESSION = FeatureSchema(name="noise", task="regression", target="y", features=FEATURES)
CLASSES = FeatureSchema(name="kinds", task="multiclass", target="y", classes=["a", "b", "c"], features=FEATURES)
NOISE = {
    "equal": lambda x, rng: rng.normal(size=len(x)),
    "grows": lambda x, rng: rng.normal(scale=0.1 + 3 * x**2),
    "skewed": lambda x, rng: rng.exponential(size=len(x)),
}


def regression_rows(noise: str, seed: int, count: int = 2000, *, matched: bool = True) -> HeldOutRows:
    """Held-out rows with this noise. matched: whether the scale is that of the noise or constant."""
    rng = np.random.default_rng(seed)
    x = rng.random(count)
    codes = rng.integers(0, 2, (count, 1))
    scale = 0.1 + 3 * x**2 if noise == "grows" and matched else np.ones(count)
    target = 10 * x + NOISE[noise](x, rng)
    return HeldOutRows(Frame(x[:, None], codes), target, Outputs(10 * x[:, None], {SCALE: scale}), REGRESSION)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_mean_coverage_of_many_tables_equals_the_level(noise: str, level: float) -> None:
    covered = [covered_by_folds(regression_rows(noise, seed, 400).scores, level).mean() for seed in range(200)]
    assert np.mean(covered) == pytest.approx(level, abs=0.005)


def test_every_fifth_is_covered_only_if_the_scale_follows_the_noise() -> None:
    rows = regression_rows("grows", 0, 8000)
    fitted = fit_uncertainty(rows)
    assert fitted is not None
    found = report(rows, fitted)
    assert min(found["coverage_by_fifth"]) >= 0.85
    assert found["interval_score"] < 0.85 * found["constant_interval_score"]
    constant = regression_rows("grows", 0, 8000, matched=False)
    fitted = fit_uncertainty(constant)
    assert fitted is not None
    assert min(report(constant, fitted)["coverage_by_fifth"]) < 0.8


def test_category_with_unequal_errors_gets_scores_for_each_level() -> None:
    rows = regression_rows("equal", 1, 4000)
    assert uneven_category(rows) is None
    south = rows.frame.codes[:, 0] == 1
    noise = np.random.default_rng(2).normal(size=4000) * np.where(south, 5.0, 1.0)
    uneven = HeldOutRows(rows.frame, rows.outputs.primary[:, 0] + noise, rows.outputs, REGRESSION)
    fitted = fit_uncertainty(uneven)
    assert fitted is not None
    assert fitted.category == "region"
    shares = report(uneven, fitted)["coverage_by_level"]["region"]
    for share in shares.values():
        assert share == pytest.approx(0.9, abs=0.03)


def class_rows(count: int = 3000) -> HeldOutRows:
    rng = np.random.default_rng(3)
    logits = rng.normal(scale=1.5, size=(count, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = (p.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return HeldOutRows(
        Frame(rng.random((count, 1)), np.zeros((count, 1), int)), target, Outputs(p.astype(np.float32)), CLASSES
    )


def test_label_sets_cover_every_class() -> None:
    rows = class_rows()
    fitted = fit_uncertainty(rows)
    assert fitted is not None
    assert fitted.by == "class"
    found = report(rows, fitted)
    deviation = math.sqrt(0.09 * 2 / 3000)
    assert found["coverage"] == pytest.approx(0.9, abs=0.01 + 2 * deviation)
    for share in found["coverage_by_class"].values():
        assert share == pytest.approx(0.9, abs=0.04)
    assert 1 < found["mean_size"] < 3


def test_too_few_rows_get_no_scores_or_no_report() -> None:
    assert fit_uncertainty(regression_rows("equal", 4, conformalization.MIN_TEST_ROWS - 1)) is None
    few = regression_rows("equal", 4, conformalization.MIN_TEST_ROWS)
    fitted = fit_uncertainty(few)
    assert fitted is not None
    assert report(few, fitted) == {}
