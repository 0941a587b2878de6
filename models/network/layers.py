"""Layers: each turns a batch into another, and hands a gradient back through itself.

`forward` keeps what `backward` needs. `backward` is given d_y = dL/dy, the gradient with respect to the layer's result;
it writes dL/dparameter into `gradients` and returns d_x = dL/dx, which is the d_y of the layer before. That is all of
backpropagation: the chain rule, one layer at a time, from the last to the first.
"""

import math
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from models.network import activations
from models.network.activations import Array


class Initialiser(Protocol):
    def __call__(self, rng: np.random.Generator, inputs: int, units: int) -> Array: ...


def glorot(rng: np.random.Generator, inputs: int, units: int) -> Array:
    """Uniform with variance 2 / (inputs + units): signals and gradients keep their size through a sigmoid or tanh.

    Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html. What Keras starts a Dense layer with.
    """
    limit = np.sqrt(6 / (inputs + units))
    return rng.uniform(-limit, limit, (inputs, units))


def he(rng: np.random.Generator, inputs: int, units: int) -> Array:
    """Normal with variance 2 / inputs: twice as much, because a ReLU silences half. https://arxiv.org/abs/1502.01852."""
    return rng.normal(0, np.sqrt(2 / inputs), (inputs, units))


def lecun(rng: np.random.Generator, inputs: int, units: int) -> Array:
    """Uniform with variance 1 / inputs: a sum of inputs of size 1 has size 1 again. LeCun et al. 1998."""
    limit = np.sqrt(3 / inputs)
    return rng.uniform(-limit, limit, (inputs, units))


class Layer:
    """Arrays by name: `parameters` are learned, `gradients` beside them, `state` is what is counted and not learned."""

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
        """What is not an array; with the arrays, the arguments that make this layer again."""
        return {}


class Dense(Layer):
    """y = x·W + b: every unit takes a weighted sum of all inputs. W (inputs, units), b (units,).

    x is (batch, inputs), or (batch, members, inputs): members share their weights and are like further rows.
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
        initialise: Initialiser = glorot,
        dtype: npt.DTypeLike = np.float32,
    ) -> Self:
        return cls(initialise(rng, inputs, units).astype(dtype), np.zeros(units, dtype))

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
    """y = f(x), one of the functions of `activations`, by name."""

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
    """In training, each number is zero with probability `rate`, so that no unit can count on another; else x as it is.

    What is kept grows by 1 / (1 - rate): the mean stays, and nothing needs doing when the network is used.
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


class BatchNormalization(Layer):
    """Every column at mean 0 and variance 1, then stretched by gamma and moved by beta, which are learned.

    In training, mean and variance are the batch's, and running means of both are kept; in use, the running means stand.
    Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167. Constants and the biased variance as in Keras.
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
            rows = x.reshape(-1, len(mean))  # members are like further rows
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
            # mean and variance came from x too; what they take back is the part of d_y along 1 and along x̂
            d_x -= (d_beta + self.centred * d_gamma) * (len(d_beta) / d_y.size)
        d_x *= self.parameters["gamma"] * self.scale
        return d_x

    def options(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "epsilon": self.epsilon}


class LayerNormalization(Layer):
    """Every row at mean 0 and variance 1, then stretched by gamma and moved by beta. https://arxiv.org/abs/1607.06450."""

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
    """Broadcasting would let some wrong widths through."""
    units = len(layer.parameters["gamma"])
    if x.ndim < 2 or x.shape[-1] != units:
        raise ValueError(f"{layer.kind} layer: expected (batch, {units}), given {x.shape}")
