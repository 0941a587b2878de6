"""Normalization layers: they scale each column of a batch, or each row, to mean 0 and variance 1."""

from __future__ import annotations  # without it, np.random.Generator would load numpy.random, 2.7 MB per worker

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.network.activations import Array
from models.network.layers import Layer


class BatchNormalization(Layer):
    """Scales every column to mean 0 and variance 1, then multiplies it by gamma and adds beta, which are learned.

    In training, mean and variance are those of the batch, and the layer updates running means of both; outside of
    training it uses the running means.
    Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167. The constants and the biased variance are those of Keras.
    """

    kind = "batch_normalization"

    def __init__(
        self,
        gamma: npt.ArrayLike,
        beta: npt.ArrayLike,
        moving_mean: npt.ArrayLike,
        moving_variance: npt.ArrayLike,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
    ) -> None:
        super().__init__(
            {"gamma": np.asarray(gamma), "beta": np.asarray(beta)},
            {"moving_mean": np.asarray(moving_mean), "moving_variance": np.asarray(moving_variance)},
        )
        self.momentum, self.epsilon = momentum, epsilon

    @classmethod
    def new(cls, units: int, dtype: npt.DTypeLike = np.float32) -> Self:
        return cls(np.ones(units, dtype), np.zeros(units, dtype), np.zeros(units, dtype), np.ones(units, dtype))

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        check_width(self, x)
        self.training = training
        mean, variance = self.state["moving_mean"], self.state["moving_variance"]
        if training:
            rows = x.reshape(-1, len(mean))  # members are treated as additional rows
            batch_mean, batch_variance = rows.mean(axis=0), rows.var(axis=0)  # (units,)
            mean += (1 - self.momentum) * (batch_mean - mean)
            variance += (1 - self.momentum) * (batch_variance - variance)
            mean, variance = batch_mean, batch_variance
        self.scale = 1 / np.sqrt(variance + self.epsilon)
        self.centred = (x - mean) * self.scale  # x̂, (batch, units)
        y: Array = self.parameters["gamma"] * self.centred
        y += self.parameters["beta"]
        return y

    def backward(self, d_y: Array) -> Array:
        axes = tuple(range(d_y.ndim - 1))
        d_gamma = np.sum(d_y * self.centred, axis=axes, out=self.gradients["gamma"])
        d_beta = np.sum(d_y, axis=axes, out=self.gradients["beta"])
        d_x = d_y.copy()
        if self.training:
            # mean and variance depend on x too: their gradient removes the part of d_y along 1 and along x̂
            d_x -= (d_beta + self.centred * d_gamma) * (len(d_beta) / d_y.size)
        d_x *= self.parameters["gamma"] * self.scale
        return d_x

    def options(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "epsilon": self.epsilon}


class LayerNormalization(Layer):
    """Scales every row to mean 0 and variance 1, then multiplies it by gamma and adds beta.
    https://arxiv.org/abs/1607.06450."""

    kind = "layer_normalization"

    def __init__(self, gamma: npt.ArrayLike, beta: npt.ArrayLike, epsilon: float = 1e-3) -> None:
        super().__init__({"gamma": np.asarray(gamma), "beta": np.asarray(beta)})
        self.epsilon = epsilon

    @classmethod
    def new(cls, units: int, dtype: npt.DTypeLike = np.float32) -> Self:
        return cls(np.ones(units, dtype), np.zeros(units, dtype))

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        check_width(self, x)
        self.scale = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + self.epsilon)  # (batch, 1)
        self.centred = (x - x.mean(axis=-1, keepdims=True)) * self.scale  # x̂, (batch, units)
        y: Array = self.parameters["gamma"] * self.centred
        y += self.parameters["beta"]
        return y

    def backward(self, d_y: Array) -> Array:
        axes = tuple(range(d_y.ndim - 1))
        np.sum(d_y * self.centred, axis=axes, out=self.gradients["gamma"])
        np.sum(d_y, axis=axes, out=self.gradients["beta"])
        d_centred = d_y * self.parameters["gamma"]
        along_x = (d_centred * self.centred).mean(axis=-1, keepdims=True)
        d_x: Array = (d_centred - d_centred.mean(axis=-1, keepdims=True) - self.centred * along_x) * self.scale
        return d_x

    def options(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon}


def check_width(layer: BatchNormalization | LayerNormalization, x: Array) -> None:
    """Raises ValueError for a wrong width, because broadcasting would accept some wrong widths."""
    units = len(layer.parameters["gamma"])
    if x.ndim < 2 or x.shape[-1] != units:
        raise ValueError(f"{layer.kind} layer: expected (batch, {units}), given {x.shape}")
