"""Compares the losses of two networks row by row on the same validation rows."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.architecture import Link, Task
from models.network.ensemble_layers import member_mean
from training.encoded_rows import Targets
from training.network_fit import NetworkFit
from training.training_run import FitResult

Vector = npt.NDArray[np.float64]
LINK: dict[Task, Link] = {"binary": "sigmoid", "multiclass": "softmax", "regression": "linear"}


class Gain(NamedTuple):
    """The decrease of the mean loss of the validation rows, and its standard error."""

    mean: float
    error: float

    @property
    def is_clear(self) -> bool:
        return self.mean > self.error


def gain_of(before: NetworkFit, after: NetworkFit) -> Gain:
    """The gain of `after` compared with `before`."""
    losses = [row_losses(one.dataset.schema.task, one.fit, one.validated_y) for one in (before, after)]
    return mean_gain(losses[0] - losses[1])


def mean_gain(differences: Vector) -> Gain:
    """The gain from the differences (rows,) of the losses of two networks."""
    return Gain(float(differences.mean()), float(differences.std(ddof=1)) / len(differences) ** 0.5)


def row_losses(task: Task, fitted: FitResult, y: Targets) -> Vector:
    """(rows,): the loss of each validation row. y: the targets of these rows."""
    outputs = mean_outputs(task, fitted)
    if task == "regression":
        return np.asarray((outputs[:, 0] - y) ** 2)
    if task == "binary":
        return np.asarray(np.logaddexp(0.0, np.where(y == 1, -outputs[:, 0], outputs[:, 0])))
    return np.asarray(-outputs[np.arange(len(y)), y])  # logarithms of probabilities


def mean_outputs(task: Task, fitted: FitResult) -> Vector:
    """(rows, outputs): the mean of the members for the validation rows; logits or values."""
    assert fitted.member_outputs is not None
    outputs = fitted.member_outputs.outputs.astype(np.float64) / fitted.temperature
    return np.asarray(member_mean(outputs, LINK[task], axis=1))


def residuals(trained: NetworkFit) -> Vector:
    """(rows, outputs): true value minus prediction for the validation rows; for classes, with their probabilities."""
    task, y = trained.dataset.schema.task, trained.validated_y
    outputs = mean_outputs(task, trained.fit)
    if task == "regression":
        return np.asarray(y[:, np.newaxis] - outputs)
    if task == "binary":
        return np.asarray(y[:, np.newaxis] - 1 / (1 + np.exp(-outputs)))
    return np.asarray(np.eye(outputs.shape[1])[y] - np.exp(outputs))
