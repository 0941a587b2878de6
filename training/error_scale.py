"""Fits the scale of a regression's errors: which rows are predicted well and which are not.

The scale of a row is exp(h·W + b) with h the last hidden layer. W and b are the maximum-likelihood estimate of Laplace
distributed errors, with a penalty on W that cross-validation chooses. They are fitted to validation rows: errors on
training rows are too small, most of all where the network has learned rows by heart.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from models.network.scale_head import MAX_LOG_SCALE, ScaleHead

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
FOLDS = 4
MIN_ROWS = 50  # below it all rows get the same scale
Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


def fit_scale_head(hidden: npt.NDArray[np.float32], errors: Vector) -> ScaleHead:
    """hidden: (n, units) of validation rows; errors: (n,), in standard deviations of the target."""
    absolute = np.abs(errors)
    typical = float(absolute.mean())
    if len(errors) < MIN_ROWS or not typical > 0:
        return ScaleHead(np.zeros(hidden.shape[1], np.float32), float(np.log(typical)) if typical > 0 else 0.0)
    mean, deviation = hidden.mean(axis=0, dtype=np.float64), hidden.std(axis=0, dtype=np.float64)
    factor = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0) / np.sqrt(hidden.shape[1] / 32)
    h = (hidden - mean) * factor
    relative = absolute / typical
    losses = [np.mean([*_fold_losses(h, relative, penalty)]) for penalty in PENALTIES]
    w, b = _fit(h, relative, PENALTIES[int(np.argmin(losses))])
    W = w * factor
    return ScaleHead(W.astype(np.float32), float(b - mean @ W + np.log(typical)))


def _fold_losses(h: Matrix, absolute: Vector, penalty: float) -> Iterator[float]:
    for fold in range(FOLDS):
        held_out = np.arange(len(h)) % FOLDS == fold
        w, b = _fit(h[~held_out], absolute[~held_out], penalty)
        log_scale = np.clip(h[held_out] @ w + b, -MAX_LOG_SCALE, MAX_LOG_SCALE)
        yield float(np.mean(log_scale + absolute[held_out] * np.exp(-log_scale)))


def _fit(h: Matrix, absolute: Vector, penalty: float) -> tuple[Vector, float]:
    """The w and b with the smallest mean of log scale + error / scale, plus penalty·|w|²."""
    x = np.column_stack([h, np.ones(len(h))])

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
    return found[:-1], float(found[-1])
