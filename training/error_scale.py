"""Fits the scale of a regression's errors, which is smaller for rows that the network predicts better.

The scale of a row is exp(h·W + b), where h is the output of the last hidden layer. W and b are the maximum-likelihood
estimate of Laplace distributed errors, with a penalty on W that cross-validation selects. They are fitted to rows that
the network was not trained on: its errors on training rows are too small, especially on rows that it memorised.

But there are many more training rows, and their errors are largest where the errors on new rows are largest. So a scale
fitted to the training rows is a further input with a very small penalty, and the held-out rows only correct it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.network.scale_head import MAX_LOG_SCALE, ScaleHead

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
FOLDS = 4
MIN_ROWS = 50  # with fewer rows the scale is constant
MAX_TRAINING_ROWS = 20_000
TRAINING_PENALTY = 0.01
TRAINING_WEIGHT = 10.0  # reduces the penalty of this input to a hundredth of the usual penalty
LIMITS = (0.01, 0.99)  # the log scale is limited to these quantiles, also for rows far from all others
Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


class RowErrors(NamedTuple):
    """Errors of n rows, in standard deviations of the target. hidden: (n, units), outputs of the last hidden layer."""

    hidden: npt.NDArray[np.float32]
    errors: Vector


def fit_scale_head(held_out: RowErrors, training: RowErrors | None = None) -> ScaleHead:
    """Fit the scale. held_out: errors on rows that the network was not trained on. training: on training rows."""
    # One thread: after each of thousands of short products, BLAS threads wait for each other without sleeping. On two
    # busy cores two threads took 11 to 15 times as long.
    with threadpool_limits(1, "blas"):
        return _fit_scale_head(held_out, training)


def _fit_scale_head(held_out: RowErrors, training: RowErrors | None) -> ScaleHead:
    hidden, absolute = held_out.hidden, np.abs(held_out.errors)
    typical = float(absolute.mean())
    if len(absolute) < MIN_ROWS or not typical > 0:
        log_typical = float(np.log(typical)) if typical > 0 else 0.0
        return ScaleHead(np.zeros(hidden.shape[1], np.float32), log_typical, (log_typical, log_typical))
    mean, deviation = hidden.mean(axis=0, dtype=np.float64), hidden.std(axis=0, dtype=np.float64)
    factor = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0) / np.sqrt(hidden.shape[1] / 32)
    direction = np.zeros(hidden.shape[1]) if training is None else _training_direction(training, mean, factor)
    x = _scale_inputs(hidden, mean, factor, direction if direction.any() else None)
    relative = absolute / typical
    losses = [np.mean([*_fold_losses(x, relative, penalty)]) for penalty in PENALTIES]
    parameters = _fit(x, relative, PENALTIES[int(np.argmin(losses))])
    log_scale = x @ parameters + np.log(typical)
    w, b = parameters[:-1], float(parameters[-1])
    W = (w[: hidden.shape[1]] + (w[-1] * direction if direction.any() else 0.0)) * factor
    low, high = np.quantile(log_scale, LIMITS)
    return ScaleHead(W.astype(np.float32), float(b - mean @ W + np.log(typical)), (float(low), float(high)))


def _scale_inputs(
    hidden: npt.NDArray[np.float32], mean: Vector, factor: Vector, direction: Vector | None = None
) -> Matrix:
    """(n, units + 1): the scaled outputs and a column of ones. direction: inserts a projection of the outputs before
    the ones."""
    units = hidden.shape[1]
    x = np.ones((len(hidden), units + (1 if direction is None else 2)))
    h = x[:, :units]
    np.subtract(hidden, mean, out=h)
    h *= factor
    if direction is not None:
        x[:, units] = h @ direction
    return x


def _training_direction(training: RowErrors, mean: Vector, factor: Vector) -> Vector:
    """(units,): the weights of a scale fitted to training rows, 0 if there are too few rows or their errors are 0."""
    step = max(1, -(-len(training.errors) // MAX_TRAINING_ROWS))
    absolute = np.abs(training.errors[::step])
    if len(absolute) < MIN_ROWS or not absolute.mean() > 0:
        return np.zeros(len(mean))
    parameters = _fit(
        _scale_inputs(training.hidden[::step], mean, factor), absolute / absolute.mean(), TRAINING_PENALTY
    )
    return TRAINING_WEIGHT * parameters[:-1]


def _fold_losses(x: Matrix, absolute: Vector, penalty: float) -> Iterator[float]:
    for fold in range(FOLDS):
        held_out = np.arange(len(x)) % FOLDS == fold
        fitted = x[~held_out]
        parameters = _fit(fitted, absolute[~held_out], penalty)
        limits = np.quantile(fitted @ parameters, LIMITS)
        del fitted  # frees a large matrix
        log_scale = np.clip(x[held_out] @ parameters, *limits)
        yield float(np.mean(log_scale + absolute[held_out] * np.exp(-log_scale)))


def _fit(x: Matrix, absolute: Vector, penalty: float) -> Vector:
    """Minimise the mean of log scale + error / scale, plus penalty·|w|². Returns w and b in one vector.

    The last column of x is 1.
    """

    def loss(parameters: Vector) -> tuple[float, Vector]:
        log_scale = x @ parameters
        inside = np.abs(log_scale) < MAX_LOG_SCALE
        log_scale = np.clip(log_scale, -MAX_LOG_SCALE, MAX_LOG_SCALE)
        relative = absolute * np.exp(-log_scale)
        gradient = x.T @ ((1 - relative) * inside) / len(x)
        w = parameters[:-1]
        gradient[:-1] += 2 * penalty * w
        return float(np.mean(log_scale + relative) + penalty * w @ w), gradient

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return np.asarray(found, np.float64)
