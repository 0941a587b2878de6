"""Converts logits to probabilities."""

import math

import numpy as np
import numpy.typing as npt

from models.frame import FEW_ROWS

Float32Matrix = npt.NDArray[np.float32]


def probabilities(logits: Float32Matrix) -> Float32Matrix:
    """Convert logits (rows, 1) of the second class, or (rows, classes), to probabilities (rows, classes)."""
    if logits.shape[1] == 1:
        if len(logits) == 1:
            second = sigmoid(logits.item())
            return np.array([[1.0 - second, second]], dtype=np.float32)
        if len(logits) <= FEW_ROWS:
            pairs = [(1.0 - second, second) for second in map(sigmoid, logits.ravel().tolist())]
            return np.array(pairs, dtype=np.float32).reshape(len(logits), 2)
        with np.errstate(over="ignore"):  # exp(-x) = inf gives 0, which is correct
            seconds = 1.0 / (1.0 + np.exp(-logits))
        return np.concatenate([1.0 - seconds, seconds], axis=1)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float32)


def sigmoid(logit: float) -> float:
    """Compute 1 / (1 + exp(-x)) without a power of e that could overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    e = math.exp(logit)
    return e / (1.0 + e)
