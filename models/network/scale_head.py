"""A second output of a regression network: the logarithm of its error's scale, a linear function of the last hidden
layer.

The head is an additional column of the last matrix, so the prediction itself does not change, and each row costs one
more product of a few hundred numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from models.network.activations import Array
from models.network.ensemble_layers import MemberDense, MemberMean
from models.network.layers import Dense, Layer

MAX_LOG_SCALE = 10.0  # maximum log of a scale relative to the target's scale; keeps exp finite
Limits = tuple[float, float]
NO_LIMITS: Limits = (-MAX_LOG_SCALE, MAX_LOG_SCALE)


@dataclass(frozen=True)
class ScaleHead:
    """log scale = h·W + b, where h (rows, units) is the last hidden layer; for an ensemble, the last hidden layers of
    all members side by side.

    limits: the smallest and the largest log scale of the rows to which it was fitted. `scales` clips the network's
    output to them.
    """

    W: npt.NDArray[np.float32]  # (units,)
    b: float
    limits: Limits = NO_LIMITS

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[np.float32]]) -> Self:
        """The scale head from stored arrays. Raises ValueError if they are damaged."""
        W, b = arrays["W"], arrays["b"]
        if W.ndim != 1 or b.shape != () or not (np.isfinite(W).all() and np.isfinite(b)):
            raise ValueError("the scale head is damaged")
        low, high = map(float, arrays.get("limits", NO_LIMITS))
        if not low <= high:
            raise ValueError("the scale head is damaged")
        return cls(W.astype(np.float32), float(b), (low, high))

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        return {"W": self.W, "b": np.array(self.b, np.float32), "limits": np.array(self.limits, np.float32)}


def scales(log_scales: npt.NDArray[np.float32], limits: Limits) -> npt.NDArray[np.float64]:
    """The scales (rows,) from log scales, which are clipped to the limits."""
    return np.exp(np.clip(log_scales.astype(np.float64), *limits))


def one_scale(log_scale: float, limits: Limits) -> float:
    """The scale of one row from its log scale, which is clipped to the limits."""
    low, high = limits
    return math.exp(min(max(log_scale, low), high))


def split_output_layer(layers: Sequence[Layer]) -> tuple[list[Layer], list[Layer]]:
    """The layers up to the last hidden layer, and the output layer with the mean of an ensemble's members."""
    outputs = 2 if isinstance(layers[-1], MemberMean) else 1
    return list(layers[:-outputs]), list(layers[-outputs:])


def add_scale_head(layers: Sequence[Layer], head: ScaleHead) -> list[Layer]:
    """The same network with outputs (rows, 2): value and log scale. Raises ValueError if the head does not belong to
    it."""
    hidden, (last, *mean) = split_output_layer(layers)
    if isinstance(last, MemberDense) and mean and isinstance(mean[0], MemberMean) and mean[0].link == "linear":
        members, inputs, outputs = last.W.shape
        if outputs == 1 and head.W.size == members * inputs:
            own = head.W.reshape(members, inputs, 1) * members  # because the mean divides by the number of members
            b = np.full((members, 1), head.b)
            widened: Layer = MemberDense(_with_column(last.W, own), _with_column(last.b, b))
            return [*hidden, widened, *mean]
    if isinstance(last, Dense) and not mean and last.W.shape == (head.W.size, 1):
        return [*hidden, Dense(_with_column(last.W, head.W[:, np.newaxis]), _with_column(last.b, np.array([head.b])))]
    raise ValueError("the scale head does not belong to this network")


def _with_column(matrix: Array, column: Array) -> Array:
    return np.concatenate([matrix, column.astype(matrix.dtype)], axis=-1)
