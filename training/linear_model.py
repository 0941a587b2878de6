"""Ridge and logistic regression over encoded rows, and the same model as a network without hidden layers.

Numbers are scaled, and a category has one column for each group. The intercept is not penalised, so an infinite penalty
leaves only a constant: the mean of the target, or the class frequencies.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from models.architecture import Architecture, Task
from models.encoding.encoder import Encoder
from models.network import network
from models.network.layers import Dense
from models.network.network import Network
from models.network.tabular_layers import Tabular
from training.encoded_rows import Targets
from training.streaming.stored_matrix import Matrix

PENALTIES: dict[bool, tuple[float, ...]] = {  # penalties of the squared weights; the key is true for a regression
    True: (0.3, 3.0, 30.0, 300.0, 3000.0, math.inf),
    False: (1.0, 10.0, 100.0, math.inf),
}
ITERATIONS = 200  # iterations of logistic regression
ABSENT_ROWS = 0.5  # assumed number of rows of a class without training rows

Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinearModel:
    """outputs = columns @ W + b. W (columns, outputs), b (outputs,): standardised values or logits."""

    penalty: float
    W: Array64
    b: Array64

    def predict(self, columns: Array64) -> Array64:
        return np.asarray(columns @ self.W + self.b)


def one_hot_columns(x: Matrix, encoder: Encoder) -> Array64:
    """(rows, width) encoded rows -> (rows, columns): one column for each group of an embedded category."""
    plain = x.shape[1] - len(encoder.tables)
    levels = [np.eye(groups, groups - 1)[x[:, plain + j].astype(int)] for j, (groups, _) in enumerate(encoder.tables)]
    return np.concatenate([x[:, :plain].astype(np.float64), *levels], axis=1)


def column_count(encoder: Encoder) -> int:
    """The number of columns that `one_hot_columns` returns."""
    return encoder.width + sum(groups - 2 for groups, _ in encoder.tables)


def fit_each(
    columns: Array64, y: Targets, task: Task, classes: int, weights: Sequence[float] | None, penalties: Sequence[float]
) -> Iterator[LinearModel]:
    """Fit a model for each penalty. y (rows,): standardised values or class numbers; weights: the class weights."""
    if task == "regression":
        yield from _fit_ridge(columns, y, penalties)
        return
    for penalty in penalties:
        yield _fit_logistic(columns, y, classes, weights, penalty)


def _fit_ridge(columns: Array64, y: Targets, penalties: Sequence[float]) -> Iterator[LinearModel]:
    """One decomposition of XᵀX = V·diag(s)·Vᵀ serves all penalties: W = V·diag(1 / (s + penalty))·Vᵀ·Xᵀy."""
    mean, y_mean = columns.mean(axis=0), float(y.mean())
    centred = columns - mean
    s, V = np.linalg.eigh(centred.T @ centred)
    projected = V.T @ (centred.T @ (y - y_mean))
    for penalty in penalties:
        w = V @ (projected / (np.maximum(s, 0.0) + penalty))
        yield LinearModel(penalty, w[:, np.newaxis], np.array([y_mean - mean @ w]))


def _fit_logistic(
    columns: Array64, y: Targets, classes: int, weights: Sequence[float] | None, penalty: float
) -> LinearModel:
    """Logistic regression; a class without rows has a constant logit."""
    row_weights = None if weights is None else np.asarray(weights)[y]
    counts = np.bincount(y, row_weights, minlength=classes)
    present = np.flatnonzero(counts)
    log_shares = np.log(np.maximum(counts, ABSENT_ROWS) / len(y))
    W = np.zeros((columns.shape[1], classes))
    b = log_shares
    if math.isfinite(penalty) and len(present) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence does not matter: the loss on held-out rows decides
            fitted = LogisticRegression(C=1 / penalty, max_iter=ITERATIONS).fit(columns, y, row_weights)
        if len(present) == 2:  # one logit, of the second class
            W[:, present[1]], b[present] = fitted.coef_[0], (0.0, fitted.intercept_[0])
        else:
            W[:, present], b[present] = fitted.coef_.T, fitted.intercept_
    if classes == 2:  # the network has one logit
        return LinearModel(penalty, W[:, 1:] - W[:, :1], b[1:] - b[:1])
    return LinearModel(penalty, W, b)


def architecture_of(encoder: Encoder, outputs: int) -> Architecture:
    """An architecture without hidden layers; each group of a category has a weight for each output."""
    tables = tuple((groups, outputs) for groups, _ in encoder.tables)
    return Architecture(encoder.width - len(tables), tables, hidden=(), outputs=outputs, activation="linear")


def to_network(model: LinearModel, encoder: Encoder, temperature: float = 1.0) -> Network:
    """The same model as a network over encoded rows: the weights of a category's group are looked up.

    Logits are divided by the temperature.
    """
    outputs, plain = len(model.b), encoder.width - len(encoder.tables)
    sizes = [groups - 1 for groups, _ in encoder.tables]
    net = network.build(architecture_of(encoder, outputs), np.random.default_rng(0))
    W = model.W / temperature
    dense = net.layers[-1]
    assert isinstance(dense, Dense)
    dense.W[...] = np.concatenate([W[:plain], *(np.eye(outputs) for _ in sizes)])
    dense.b[...] = model.b / temperature
    if sizes:
        tabular = net.layers[0]
        assert isinstance(tabular, Tabular)
        for table, weights in zip(tabular.tables, np.split(W[plain:], np.cumsum(sizes)[:-1]), strict=True):
            table[...] = np.vstack([weights, np.zeros((1, outputs))])
    return net


def to_keras(net: Network, architecture: Architecture) -> Any:
    """The Keras model of a network of this architecture, with its weights."""
    from models import keras_nets

    model = keras_nets.build(architecture)
    model.set_weights([array for layer in net.layers for array in layer.parameters.values()])
    return model
