"""Metrics equal those of scikit-learn and hand calculations."""

import numpy as np
import pytest
from sklearn import metrics as sk

from training.evaluation import calibration_error, evaluate


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y, values = rng.normal(5, 2, 100), rng.normal(5, 2, 100)
    found = evaluate("regression", y, values[:, None])
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(y, values))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, values))
    assert found["r2"] == pytest.approx(sk.r2_score(y, values))


def test_regression_metrics_equal_a_hand_calculation() -> None:
    found = evaluate("regression", np.array([1.0, 2.0, 3.0, 4.0]), np.array([[1.0], [2.0], [3.0], [8.0]]))
    assert found == pytest.approx({"rmse": 2.0, "mae": 1.0, "r2": -2.2})


def test_perfect_and_constant_targets_have_metrics() -> None:
    y = np.array([1.0, 2.0])
    assert evaluate("regression", y, y[:, None]) == {"rmse": 0.0, "mae": 0.0, "r2": 1.0}
    assert evaluate("regression", np.ones(3), np.full((3, 1), 3.0)) == {"rmse": 2.0, "mae": 2.0}


@pytest.mark.parametrize("scale", [1e-290, 1e-30, 1e30, 1e300])
def test_regression_metrics_have_the_scale_of_the_target(scale: float) -> None:
    rng = np.random.default_rng(0)
    y, values = rng.normal(size=50), rng.normal(size=50)
    plain, scaled = (
        evaluate("regression", y, values[:, None]),
        evaluate("regression", y * scale, values[:, None] * scale),
    )
    assert scaled["rmse"] / scale == pytest.approx(plain["rmse"])
    assert scaled["mae"] / scale == pytest.approx(plain["mae"])
    assert scaled["r2"] == pytest.approx(plain["r2"])


def test_metrics_of_errors_above_the_float_range_are_finite() -> None:
    found = evaluate("regression", np.array([1e308, -1e308, 0.0]), np.array([[-1.7e308], [1.7e308], [0.0]]))
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("classes", [2, 3])
def test_classification_metrics_are_those_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, classes, 200), rng.dirichlet(np.ones(classes), 200)
    found = evaluate("binary" if classes == 2 else "multiclass", y, p.astype(np.float32))
    best = p.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, best))
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p), rel=1e-5)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, best, average="macro"))
    auc = sk.roc_auc_score(y, p[:, 1]) if classes == 2 else sk.roc_auc_score(y, p, multi_class="ovr")
    assert found["auc"] == pytest.approx(auc)


def test_probabilities_of_0_and_1_have_a_finite_log_loss() -> None:
    found = evaluate("binary", np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert np.isfinite(found["log_loss"])


def test_class_without_held_out_rows_has_no_auc() -> None:
    p = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    found = evaluate("multiclass", np.array([0, 1]), p)
    assert found["accuracy"] == found["macro_f1"] == 1.0
    assert "auc" not in found
    assert "auc" not in evaluate("binary", np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]))


def test_calibration_is_the_gap_between_confidence_and_success() -> None:
    p = np.array([[0.25, 0.75]] * 4)
    assert calibration_error(np.array([1, 1, 1, 0]), p) == pytest.approx(0)
    assert calibration_error(np.array([0, 0, 0, 0]), p) == pytest.approx(0.75)
    assert calibration_error(np.array([1, 1]), np.array([[0.0, 1.0], [0.4, 0.6]])) == pytest.approx((0 + 0.4) / 2)
