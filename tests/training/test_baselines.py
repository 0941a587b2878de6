"""Baselines on small data, and their time limits."""

from typing import Any

import numpy as np
import pytest

from models.feature import Feature, TrainingRange
from models.frame import Frame
from models.schema import FeatureSchema
from training import baselines, catboost_baseline
from training.baselines import Baselines

pytestmark = pytest.mark.usefixtures("short_trees")

LEVELS: list[Any] = [f"l{number}" for number in range(12)]


def no_report(text: str) -> None:
    raise AssertionError(text)


def make_baselines(task: Any, y: Any, classes: Any = None, train: int = 200) -> Baselines:
    rng = np.random.default_rng(1)
    rows = len(y)
    schema = FeatureSchema(
        name="t",
        task=task,
        target="y",
        classes=classes,
        features=[
            Feature(name="n", kind="number", nullable=True),
            Feature(name="c", kind="category", nullable=True, seen=TrainingRange(levels=LEVELS)),
        ],
    )
    numbers = np.arange(rows, dtype=float)[:, None] % 50
    numbers[::7] = np.nan
    frame = Frame(numbers, rng.integers(-2, 12, (rows, 1)))
    everything = np.arange(rows)
    return Baselines(schema, frame, y, (everything[:train], everything[train : train + 50], everything[train + 50 :]))


def test_baselines_have_decreasing_errors_on_a_learnable_target() -> None:
    y = np.sin(np.arange(300) % 50 / 5) + np.arange(300) % 50 / 25
    found = make_baselines("regression", y).run(no_report)
    assert list(found) == ["constant", "linear", "boosted trees"]
    assert found["constant"]["rmse"] > found["linear"]["rmse"] > found["boosted trees"]["rmse"]
    assert found["constant"]["rmse"] == pytest.approx(np.sqrt(np.mean((y[250:] - y[:200].mean()) ** 2)))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_baselines_do_not_depend_on_the_scale_of_the_target(scale: float) -> None:
    y = np.arange(300) % 50 / 25.0
    plain, scaled = (
        make_baselines("regression", y).run(no_report),
        make_baselines("regression", y * scale).run(no_report),
    )
    for name, found in plain.items():
        assert scaled[name]["rmse"] / scale == pytest.approx(found["rmse"], rel=1e-3), name


def test_baselines_accept_classes_without_train_or_test_rows() -> None:
    y = np.arange(300) % 2
    y[210] = 2  # a class that occurs only in the validation set
    y[290] = 3  # a class that occurs only in the test set
    found = make_baselines("multiclass", y, ["a", "b", "c", "d"]).run(no_report)
    assert all(np.isfinite(value) for metrics in found.values() for value in metrics.values())
    assert found["constant"]["accuracy"] == pytest.approx(25 / 50, abs=0.03)


def test_train_set_of_one_class_has_only_the_constant_baseline() -> None:
    y = np.repeat([0, 1], [200, 100])
    notices: list[str] = []
    assert list(make_baselines("binary", y, [0, 1]).run(notices.append)) == ["constant"]
    assert "only one class" in notices[0]


def test_slow_baselines_are_fitted_on_fewer_rows_with_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MAX_WORK", 1.0)
    monkeypatch.setattr(baselines, "MAX_TREE_WORK", 1.0)
    y = np.arange(300) % 2
    y[199] = 2
    notices: list[str] = []
    found = make_baselines("multiclass", y, ["a", "b", "c"]).run(notices.append)
    assert len(notices) == 2
    assert "the linear model learned from 10" in notices[0]  # of 100 rows, including one of each class
    assert "boosted trees learned from 10" in notices[1]
    assert len(found) == 3


def test_trees_stop_at_their_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TREE_SECONDS", 0.0)
    notices: list[str] = []
    found = make_baselines("regression", np.arange(300) % 50 / 25.0).run(notices.append)
    assert "boosted trees were stopped after 0 s, with 10 rounds" in notices[0]
    assert np.isfinite(found["boosted trees"]["rmse"])


# CatBoost, if it is installed


def test_catboost_replaces_the_trees_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("catboost", reason="the extra `baselines` is not installed")
    monkeypatch.setattr(catboost_baseline, "is_installed", lambda: True)
    monkeypatch.setattr(catboost_baseline, "ROUNDS", 50)
    y = np.sin(np.arange(300) % 50 / 5) + np.arange(300) % 50 / 25
    found = make_baselines("regression", y).run(no_report)
    assert list(found) == ["constant", "linear", "CatBoost"]
    assert found["CatBoost"]["rmse"] < found["linear"]["rmse"]
    classes = make_baselines("multiclass", np.arange(300) % 50 // 25 * 2, ["a", "b", "c"]).run(no_report)
    assert classes["CatBoost"]["accuracy"] > 0.9


def test_catboost_gets_its_categories_as_text_and_stops_in_time() -> None:
    x = np.array([[1.5, 3.0], [np.nan, np.nan]])
    assert catboost_baseline.as_objects(x, []) is x
    assert catboost_baseline.as_objects(x, [1])[:, 1].tolist() == ["3.0", "nan"]
    assert catboost_baseline.TimeLimit(60).after_iteration(None)
    passed = catboost_baseline.TimeLimit(-1)
    assert not passed.after_iteration(None)
    assert passed.reached
