"""Layers: the base class, the dense layer, activation and dropout. A layer computes a batch from a batch, and passes a
gradient back.

`forward` stores the values that `backward` needs. The argument of `backward` is d_y = dL/dy, the gradient with respect
to the layer's output. It writes dL/dparameter into `gradients` and returns d_x = dL/dx, which is the d_y of the
previous layer. That is all of backpropagation: the chain rule, applied layer by layer from the last to the first.
"""

from __future__ import annotations  # without it, np.random.Generator would load numpy.random, 2.7 MB per worker

import math
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.network import activations
from models.network.activations import Array
from models.network.initializers import Initializer, glorot


class Layer:
    """A layer with arrays by name: `parameters` are learned, `gradients` belong to the parameters, and `state` is not
    learned (e.g. running means).

    `kind` names the layer in saved networks.
    """

    kind: ClassVar[str]

    def __init__(self, parameters: dict[str, Array] | None = None, state: dict[str, Array] | None = None) -> None:
        self.parameters = parameters or {}
        self.gradients = {name: np.zeros_like(parameter) for name, parameter in self.parameters.items()}
        self.state = state or {}

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        raise NotImplementedError

    def backward(self, d_y: Array) -> Array:
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """The arguments of the constructor that are not arrays."""
        return {}


class Dense(Layer):
    """y = x·W + b: every unit computes a weighted sum of all inputs. W (inputs, units), b (units,).

    x is (batch, inputs), or (batch, members, inputs): members share the weights, like additional rows.
    """

    kind = "dense"

    def __init__(self, W: npt.ArrayLike, b: npt.ArrayLike) -> None:
        super().__init__({"W": np.asarray(W), "b": np.asarray(b)})
        if self.W.ndim != 2 or self.b.shape != self.W.shape[1:]:
            raise ValueError(f"expected W (inputs, units) and b (units,), given {self.W.shape} and {self.b.shape}")

    @classmethod
    def new(
        cls,
        inputs: int,
        units: int,
        rng: np.random.Generator,
        initializer: Initializer = glorot,
        dtype: npt.DTypeLike = np.float32,
    ) -> Self:
        return cls(initializer(rng, inputs, units).astype(dtype), np.zeros(units, dtype))

    @property
    def W(self) -> Array:  # noqa: N802 - the field's name for the matrix
        return self.parameters["W"]

    @property
    def b(self) -> Array:
        return self.parameters["b"]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        if x.ndim < 2 or x.shape[-1] != len(self.W):
            raise ValueError(f"dense layer: expected (batch, {len(self.W)}), given {x.shape}")
        self.shape, self.x = x.shape, x.reshape(math.prod(x.shape[:-1]), len(self.W))
        y: Array = self.x @ self.W  # (batch, inputs) @ (inputs, units) -> (batch, units)
        y += self.b
        return y.reshape(*self.shape[:-1], len(self.b))

    def backward(self, d_y: Array) -> Array:
        # yₙⱼ = Σᵢ xₙᵢ·Wᵢⱼ + bⱼ, so dL/dWᵢⱼ = Σₙ xₙᵢ·d_yₙⱼ, dL/dbⱼ = Σₙ d_yₙⱼ and dL/dxₙᵢ = Σⱼ d_yₙⱼ·Wᵢⱼ
        d_y = d_y.reshape(len(self.x), len(self.b))
        np.matmul(self.x.T, d_y, out=self.gradients["W"])  # (inputs, batch) @ (batch, units)
        np.sum(d_y, axis=0, out=self.gradients["b"])  # (units,)
        d_x: Array = d_y @ self.W.T  # (batch, units) @ (units, inputs) -> (batch, inputs)
        return d_x.reshape(self.shape)


class Activation(Layer):
    """y = f(x), where f is the function of `activations` with this name."""

    kind = "activation"

    def __init__(self, function: str, **constants: float) -> None:
        super().__init__()
        self.function = activations.get(function, **constants)

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        self.x, self.y = x, self.function.forward(x)
        return self.y

    def backward(self, d_y: Array) -> Array:
        return self.function.backward(d_y, self.x, self.y)

    def options(self) -> dict[str, Any]:
        return activations.describe(self.function)


class Dropout(Layer):
    """In training, each number becomes zero with probability `rate`, so that no unit relies on another.

    The other numbers are divided by 1 - rate, which preserves the mean. Outside of training y = x.
    """

    kind = "dropout"

    def __init__(self, rate: float) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"dropout rate: expected 0 <= rate < 1, given {rate}")
        super().__init__()
        self.rate = rate

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        self.mask: Array | None = None
        if not training or self.rate == 0:
            return x
        if rng is None:
            raise ValueError("dropout in training needs an rng, given None")
        draw = rng.random(x.shape, dtype=np.float32)
        self.mask = (draw >= self.rate).astype(x.dtype)
        self.mask /= 1 - self.rate
        return x * self.mask

    def backward(self, d_y: Array) -> Array:
        return d_y if self.mask is None else d_y * self.mask

    def options(self) -> dict[str, Any]:
        return {"rate": self.rate}
