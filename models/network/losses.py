"""Losses: one number for the error of the outputs, and its gradient, with which backpropagation starts.

The arguments of both cross-entropies are logits, the numbers before sigmoid or softmax. Computed from logits, the loss
is exact even if a probability rounds to 0 or 1, and the gradient is simply probability - target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.network import activations
from models.network.activations import Array

Targets = npt.NDArray[Any]


class Loss(Protocol):
    """Computes the mean loss over rows and dL/d_outputs, from outputs (batch, units), targets and a weight per row.

    As in Keras, the weighted losses are summed and divided by the number of rows, not by the sum of the weights.
    """

    def __call__(self, outputs: Array, targets: Targets, weights: Array | None = None) -> tuple[float, Array]: ...


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """-y·log p - (1 - y)·log(1 - p) with p = sigmoid(z): z (batch, 1), y of 0 and 1 (batch,) or (batch, 1).

    Label smoothing s replaces the targets 0 and 1 by s/2 and 1 - s/2. `class_weights` are for class 0 and class 1.
    """

    label_smoothing: float = 0.0
    class_weights: Sequence[float] | None = None

    def __call__(self, outputs: Array, targets: Targets, weights: Array | None = None) -> tuple[float, Array]:
        z = outputs
        labels = _match_shape(targets, z)
        if labels.size and (labels.min() < 0 or labels.max() > 1):
            raise ValueError(f"targets: expected labels from 0 to 1, given {labels.min():g} to {labels.max():g}")
        y = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        # log(1 + eᶻ) - y·z, with the larger of 0 and z moved out of the logarithm
        losses = np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))
        d_z = activations.Sigmoid().forward(z) - y  # the factor p·(1 - p) of the sigmoid cancels
        if self.class_weights is not None:
            weights = _class_weight(self.class_weights, 2, labels[:, 0], weights)
        return _mean_over_rows(losses, d_z, weights)


@dataclass(frozen=True)
class CategoricalCrossEntropy:
    """-Σₖ qₖ·log pₖ with p = softmax(z): z (batch, classes); targets (batch,) are the numbers of the true classes.

    q is 1 for the true class and 0 for the others; label smoothing distributes a fraction s of it over all classes.
    """

    label_smoothing: float = 0.0
    class_weights: Sequence[float] | None = None

    def __call__(self, outputs: Array, targets: Targets, weights: Array | None = None) -> tuple[float, Array]:
        n, classes = outputs.shape
        label = _class_numbers(targets, n, classes)
        q = np.full_like(outputs, self.label_smoothing / classes)
        q[np.arange(n), label] += 1 - self.label_smoothing
        z = outputs - outputs.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))  # log(eᶻ / Σ eᶻ)
        losses = -(q * log_p).sum(axis=1, keepdims=True)
        d_z = np.exp(log_p) - q  # probability - target again
        if self.class_weights is not None:
            weights = _class_weight(self.class_weights, classes, label, weights)
        return _mean_over_rows(losses, d_z, weights)


@dataclass(frozen=True)
class SquaredError:
    """(ŷ - y)², as the mean over a row's outputs. Outputs and targets are (batch, units); targets of one unit may be
    (batch,)."""

    def __call__(self, outputs: Array, targets: Targets, weights: Array | None = None) -> tuple[float, Array]:
        error = outputs - _match_shape(targets, outputs)
        return _mean_over_rows(error * error, 2 * error, weights)


@dataclass(frozen=True)
class Huber:
    """½·(ŷ - y)² for an error up to delta, and linear beyond, so that the gradient of an outlier is at most delta."""

    delta: float = 1.0

    def __call__(self, outputs: Array, targets: Targets, weights: Array | None = None) -> tuple[float, Array]:
        error = outputs - _match_shape(targets, outputs)
        bounded = np.clip(error, -self.delta, self.delta)  # this is the derivative
        return _mean_over_rows(bounded * (error - bounded / 2), bounded, weights)


def _mean_over_rows(losses: Array, d_outputs: Array, weights: Array | None) -> tuple[float, Array]:
    """The mean of losses (batch, k), and its derivative, computed from the derivatives of the losses."""
    if weights is not None:
        column = np.asarray(weights, dtype=losses.dtype).reshape(len(losses), 1)
        losses, d_outputs = losses * column, d_outputs * column
    return float(losses.mean()), d_outputs / losses.size


def _match_shape(targets: Targets, outputs: Array) -> Array:
    y = np.asarray(targets, dtype=outputs.dtype)
    if y.ndim == 1 and outputs.shape[1] == 1:
        y = y[:, np.newaxis]
    if y.shape != outputs.shape:
        raise ValueError(f"targets: expected the shape of the outputs, {outputs.shape}, given {np.shape(targets)}")
    return y


def _class_numbers(targets: Targets, n: int, classes: int) -> npt.NDArray[np.intp]:
    label = np.asarray(targets)
    if label.shape not in ((n,), (n, 1)):
        raise ValueError(f"targets: expected shape ({n},), a class number for each row, given {label.shape}")
    label = label.reshape(n).astype(np.intp)
    if n and not 0 <= label.min() <= label.max() < classes:
        raise ValueError(f"targets: expected classes 0 to {classes - 1}, given {label.min()} to {label.max()}")
    return label


def _class_weight(class_weights: Sequence[float], classes: int, label: Targets, weights: Array | None) -> Array:
    if len(class_weights) != classes:
        raise ValueError(f"class_weights: expected {classes}, one for each class, given {len(class_weights)}")
    by_class: Array = np.asarray(class_weights)[label.astype(np.intp)]
    return by_class if weights is None else by_class * weights
