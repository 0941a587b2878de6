"""Metrics of predictions on rows that a model was not trained on."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from models.architecture import Task
from models.encoding.column_encodings import stable_moments

EvaluationMetrics = dict[str, float]
Array = npt.NDArray[Any]

MAIN_METRIC = {"regression": "rmse", "binary": "accuracy", "multiclass": "accuracy"}
LOWER_IS_BETTER = {"rmse", "mae", "log_loss", "calibration_error"}
METRIC_LABELS = {
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "auc": "AUC",
    "macro_f1": "macro F1",
    "calibration_error": "calibration error",
}
MAX_FLOAT = 1e308


def evaluate(task: Task, y: Array, outputs: Array) -> EvaluationMetrics:
    """The metrics of predictions.

    y: (rows,) values or class numbers. outputs: (rows, 1) values or (rows, classes) probabilities.
    """
    return _regression(y, outputs[:, 0]) if task == "regression" else _classification(y, outputs.astype(np.float64))


def metric_error(metric: str, value: float) -> float:
    """The error that a metric measures: the metric itself if lower is better, otherwise 1 minus the metric."""
    return value if metric in LOWER_IS_BETTER else 1 - value


def _regression(y: Array, values: Array) -> EvaluationMetrics:
    with np.errstate(over="ignore"):
        errors = np.abs(np.clip(values - y, -MAX_FLOAT, MAX_FLOAT))
    largest = float(errors.max()) or 1.0  # squares of errors such as 1e200 overflow, squares of scaled errors do not
    result = {
        "rmse": math.sqrt(np.mean((errors / largest) ** 2)) * largest,
        "mae": float(np.mean(errors / largest)) * largest,
    }
    if y.min() < y.max():
        share = result["rmse"] / stable_moments(y)[1]
        result["r2"] = max(1.0 - share * share, -MAX_FLOAT)
    return result


def _classification(y: Array, p: Array) -> EvaluationMetrics:
    p = p / p.sum(axis=1, keepdims=True)
    predicted = p.argmax(axis=1)
    classes = np.arange(p.shape[1])
    result = {
        "accuracy": float(np.mean(predicted == y)),
        "log_loss": float(metrics.log_loss(y, p, labels=classes)),
        "macro_f1": float(metrics.f1_score(y, predicted, average="macro", labels=np.unique(y), zero_division=0)),
        "calibration_error": calibration_error(y, p),
    }
    if len(np.unique(y)) == p.shape[1]:  # a class without test rows has no ROC curve
        scores = p[:, 1] if p.shape[1] == 2 else p
        result["auc"] = float(metrics.roc_auc_score(y, scores, multi_class="ovr", average="macro", labels=classes))
    return result


def calibration_error(y: Array, p: Array, bins: int = 15) -> float:
    """The gap between the predicted class's probability and its accuracy, averaged over rows (ECE)."""
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    where = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(correct[where == b].mean() - confidence[where == b].mean()) * np.mean(where == b) for b in np.unique(where)
    ]
    return float(sum(gaps))
