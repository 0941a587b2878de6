"""Metrics against scikit-learn and hand-worked cases; baselines that stay within their time."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from models.feature import Feature, Seen
from models.frame import Frame
from models.schema import FeatureSchema
from training import evaluate
from training.evaluate import Baselines, calibration_error, measure

pytestmark = pytest.mark.usefixtures("short_trees")


def told_nothing(text: str) -> None:
    raise AssertionError(text)


# Metrics


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y, values = rng.normal(5, 2, 100), rng.normal(5, 2, 100)
    found = measure("regression", y, values[:, None])
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(y, values))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, values))
    assert found["r2"] == pytest.approx(sk.r2_score(y, values))


def test_a_hand_worked_regression() -> None:
    found = measure("regression", np.array([1.0, 2.0, 3.0, 4.0]), np.array([[1.0], [2.0], [3.0], [8.0]]))
    assert found == pytest.approx({"rmse": 2.0, "mae": 1.0, "r2": -2.2})


def test_perfect_and_constant_targets_have_metrics_too() -> None:
    y = np.array([1.0, 2.0])
    assert measure("regression", y, y[:, None]) == {"rmse": 0.0, "mae": 0.0, "r2": 1.0}
    assert measure("regression", np.ones(3), np.full((3, 1), 3.0)) == {"rmse": 2.0, "mae": 2.0}


@pytest.mark.parametrize("scale", [1e-290, 1e-30, 1e30, 1e300])
def test_regression_metrics_know_no_scale(scale: float) -> None:
    rng = np.random.default_rng(0)
    y, values = rng.normal(size=50), rng.normal(size=50)
    plain, scaled = measure("regression", y, values[:, None]), measure("regression", y * scale, values[:, None] * scale)
    assert scaled["rmse"] / scale == pytest.approx(plain["rmse"])
    assert scaled["mae"] / scale == pytest.approx(plain["mae"])
    assert scaled["r2"] == pytest.approx(plain["r2"])


def test_errors_beyond_all_floats_stay_finite() -> None:
    found = measure("regression", np.array([1e308, -1e308, 0.0]), np.array([[-1.7e308], [1.7e308], [0.0]]))
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("classes", [2, 3])
def test_classification_metrics_are_those_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, classes, 200), rng.dirichlet(np.ones(classes), 200)
    found = measure("binary" if classes == 2 else "multiclass", y, p.astype(np.float32))
    best = p.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, best))
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p), rel=1e-5)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, best, average="macro"))
    auc = sk.roc_auc_score(y, p[:, 1]) if classes == 2 else sk.roc_auc_score(y, p, multi_class="ovr")
    assert found["auc"] == pytest.approx(auc)


def test_probabilities_of_0_and_1_have_a_finite_log_loss() -> None:
    found = measure("binary", np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert np.isfinite(found["log_loss"])


def test_a_class_without_held_out_rows_has_no_auc_and_does_no_harm() -> None:
    p = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    found = measure("multiclass", np.array([0, 1]), p)
    assert found["accuracy"] == found["macro_f1"] == 1.0
    assert "auc" not in found
    assert "auc" not in measure("binary", np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]))


def test_calibration_is_the_gap_between_confidence_and_success() -> None:
    p = np.array([[0.25, 0.75]] * 4)
    assert calibration_error(np.array([1, 1, 1, 0]), p) == pytest.approx(0)
    assert calibration_error(np.array([0, 0, 0, 0]), p) == pytest.approx(0.75)
    assert calibration_error(np.array([1, 1]), np.array([[0.0, 1.0], [0.4, 0.6]])) == pytest.approx((0 + 0.4) / 2)


# Baselines

LEVELS: list[Any] = [f"l{number}" for number in range(12)]


def baselines(task: Any, y: Any, classes: Any = None, train: int = 200) -> Baselines:
    rng = np.random.default_rng(1)
    rows = len(y)
    schema = FeatureSchema(
        name="t",
        task=task,
        target="y",
        classes=classes,
        features=[
            Feature(name="n", kind="number", nullable=True),
            Feature(name="c", kind="category", nullable=True, seen=Seen(levels=LEVELS)),
        ],
    )
    numbers = np.arange(rows, dtype=float)[:, None] % 50
    numbers[::7] = np.nan
    frame = Frame(numbers, rng.integers(-2, 12, (rows, 1)))
    everything = np.arange(rows)
    return Baselines(schema, frame, y, (everything[:train], everything[train : train + 50], everything[train + 50 :]))


def test_each_baseline_beats_the_one_before_where_there_is_something_to_find() -> None:
    y = np.sin(np.arange(300) % 50 / 5) + np.arange(300) % 50 / 25
    found = baselines("regression", y).run(told_nothing)
    assert list(found) == ["constant", "linear", "boosted trees"]
    assert found["constant"]["rmse"] > found["linear"]["rmse"] > found["boosted trees"]["rmse"]
    assert found["constant"]["rmse"] == pytest.approx(np.sqrt(np.mean((y[250:] - y[:200].mean()) ** 2)))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_baselines_know_no_scale(scale: float) -> None:
    y = np.arange(300) % 50 / 25.0
    plain, scaled = baselines("regression", y).run(told_nothing), baselines("regression", y * scale).run(told_nothing)
    for name, found in plain.items():
        assert scaled[name]["rmse"] / scale == pytest.approx(found["rmse"], rel=1e-3), name


def test_classes_without_training_or_test_rows_do_no_harm() -> None:
    y = np.arange(300) % 2
    y[210] = 2  # in the validation part only
    y[290] = 3  # in the test part only
    found = baselines("multiclass", y, ["a", "b", "c", "d"]).run(told_nothing)
    assert all(np.isfinite(value) for metrics in found.values() for value in metrics.values())
    assert found["constant"]["accuracy"] == pytest.approx(25 / 50, abs=0.03)


def test_a_training_part_of_one_class_is_told_and_has_a_constant_only() -> None:
    y = np.repeat([0, 1], [200, 100])
    told: list[str] = []
    assert list(baselines("binary", y, [0, 1]).run(told.append)) == ["constant"]
    assert "one class only" in told[0]


def test_what_would_take_too_long_learns_from_fewer_rows_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "MAX_WORK", 1.0)
    monkeypatch.setattr(evaluate, "MAX_TREE_WORK", 1.0)
    y = np.arange(300) % 2
    y[199] = 2
    told: list[str] = []
    found = baselines("multiclass", y, ["a", "b", "c"]).run(told.append)
    assert len(told) == 2
    assert "the linear model learned from 10" in told[0]  # 100, and one of each class
    assert "boosted trees learned from 10" in told[1]
    assert len(found) == 3


def test_trees_stop_when_their_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "TREE_SECONDS", 0.0)
    told: list[str] = []
    found = baselines("regression", np.arange(300) % 50 / 25.0).run(told.append)
    assert "boosted trees were stopped after 0 s, with 10 rounds" in told[0]
    assert np.isfinite(found["boosted trees"]["rmse"])
