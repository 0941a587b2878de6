"""Fits the scale of a regression's errors: which rows are predicted well and which are not.

The scale of a row is exp(h·W + b) with h the last hidden layer. W and b are the maximum-likelihood estimate of Laplace
distributed errors, with a penalty on W that cross-validation chooses. They are fitted to rows that the network did not
learn from: errors on rows that it learned from are too small, above all for rows that the network has memorised.

There are many more rows that it learned from, and their errors are largest where errors on new rows are largest. So a
scale fitted to them is one further input with a very small penalty, and the other rows only have to correct it.
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
MIN_ROWS = 50  # with fewer rows all rows get the same scale
MAX_LEARNED_ROWS = 20_000
LEARNED_PENALTY = 0.01
LEARNED_WEIGHT = 10.0  # a hundredth of the penalty that the other inputs have
LIMITS = (0.01, 0.99)  # the log scale is limited to these quantiles, also for rows far from all others
Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


class RowErrors(NamedTuple):
    """hidden: (n, units) outputs of the last hidden layer; errors: (n,), in standard deviations of the target."""

    hidden: npt.NDArray[np.float32]
    errors: Vector


def fit_scale_head(held_out: RowErrors, learned: RowErrors | None = None) -> ScaleHead:
    """held_out: of rows that the network did not learn from; learned: of rows that it learned from."""
    # One thread: each of thousands of short products ends with threads that wait for each other without sleeping. On
    # two busy cores two threads took 11 to 15 times as long.
    with threadpool_limits(1, "blas"):
        return _fit_scale_head(held_out, learned)


def _fit_scale_head(held_out: RowErrors, learned: RowErrors | None) -> ScaleHead:
    hidden, absolute = held_out.hidden, np.abs(held_out.errors)
    typical = float(absolute.mean())
    if len(absolute) < MIN_ROWS or not typical > 0:
        log_typical = float(np.log(typical)) if typical > 0 else 0.0
        return ScaleHead(np.zeros(hidden.shape[1], np.float32), log_typical, (log_typical, log_typical))
    mean, deviation = hidden.mean(axis=0, dtype=np.float64), hidden.std(axis=0, dtype=np.float64)
    factor = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0) / np.sqrt(hidden.shape[1] / 32)
    direction = np.zeros(hidden.shape[1]) if learned is None else _learned_direction(learned, mean, factor)
    x = _scaled(hidden, mean, factor, direction if direction.any() else None)
    relative = absolute / typical
    losses = [np.mean([*_fold_losses(x, relative, penalty)]) for penalty in PENALTIES]
    parameters = _fit(x, relative, PENALTIES[int(np.argmin(losses))])
    log_scale = x @ parameters + np.log(typical)
    w, b = parameters[:-1], float(parameters[-1])
    W = (w[: hidden.shape[1]] + (w[-1] * direction if direction.any() else 0.0)) * factor
    low, high = np.quantile(log_scale, LIMITS)
    return ScaleHead(W.astype(np.float32), float(b - mean @ W + np.log(typical)), (float(low), float(high)))


def _scaled(hidden: npt.NDArray[np.float32], mean: Vector, factor: Vector, direction: Vector | None = None) -> Matrix:
    """(n, units + 1): scaled outputs and ones; with a direction, before the ones, the outputs in that direction."""
    units = hidden.shape[1]
    x = np.ones((len(hidden), units + (1 if direction is None else 2)))
    h = x[:, :units]
    np.subtract(hidden, mean, out=h)
    h *= factor
    if direction is not None:
        x[:, units] = h @ direction
    return x


def _learned_direction(learned: RowErrors, mean: Vector, factor: Vector) -> Vector:
    """(units,): the weights of a scale fitted to rows that the network learned from, 0 where they have no errors."""
    step = max(1, -(-len(learned.errors) // MAX_LEARNED_ROWS))
    absolute = np.abs(learned.errors[::step])
    if len(absolute) < MIN_ROWS or not absolute.mean() > 0:
        return np.zeros(len(mean))
    parameters = _fit(_scaled(learned.hidden[::step], mean, factor), absolute / absolute.mean(), LEARNED_PENALTY)
    return LEARNED_WEIGHT * parameters[:-1]


def _fold_losses(x: Matrix, absolute: Vector, penalty: float) -> Iterator[float]:
    for fold in range(FOLDS):
        held_out = np.arange(len(x)) % FOLDS == fold
        fitted = x[~held_out]
        parameters = _fit(fitted, absolute[~held_out], penalty)
        limits = np.quantile(fitted @ parameters, LIMITS)
        del fitted  # it is large
        log_scale = np.clip(x[held_out] @ parameters, *limits)
        yield float(np.mean(log_scale + absolute[held_out] * np.exp(-log_scale)))


def _fit(x: Matrix, absolute: Vector, penalty: float) -> Vector:
    """The w and b, side by side, with the smallest mean of log scale + error / scale, plus penalty·|w|².

    x: its last column is 1.
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
