"""What a model answers: values or probabilities."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from models.frame import FEW_ROWS

FloatMatrix = npt.NDArray[np.float32]

Answers = npt.NDArray[Any]  # float64 values or float32 probabilities
Prediction = dict[str, Any]


def probabilities(logits: FloatMatrix) -> FloatMatrix:
    """(rows, 1) or (rows, classes) logits -> (rows, classes) probabilities; one logit speaks for the second class."""
    if logits.shape[1] == 1:
        if len(logits) == 1:
            second = sigmoid(logits.item())
            return np.array([[1.0 - second, second]], dtype=np.float32)
        if len(logits) <= FEW_ROWS:
            pairs = [(1.0 - second, second) for second in map(sigmoid, logits.ravel().tolist())]
            return np.array(pairs, dtype=np.float32).reshape(len(logits), 2)
        with np.errstate(over="ignore"):  # exp(-x) = inf gives the right 0
            seconds = 1.0 / (1.0 + np.exp(-logits))
        return np.concatenate([1.0 - seconds, seconds], axis=1)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float32)


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-x)); no power of e that could overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    e = math.exp(logit)
    return e / (1.0 + e)


def short_floats(values: npt.NDArray[Any]) -> list[float]:
    """As Python floats with the shortest digits that read back as the same number in the array's own precision."""
    floats: list[float] = orjson.loads(orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY))
    return floats
