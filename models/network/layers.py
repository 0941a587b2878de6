"""Layers: each turns a batch into another, and hands a gradient back through itself.

`forward` keeps what `backward` needs. `backward` is given d_y = dL/dy, the gradient with respect to the layer's result;
it writes dL/dparameter into `gradients` and returns d_x = dL/dx, which is the d_y of the layer before. That is all of
backpropagation: the chain rule, one layer at a time, from the last to the first.
"""

from collections.abc import Callable, Sequence
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
    """y = x·W + b: every unit takes a weighted sum of all inputs. W (inputs, units), b (units,)."""

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
        if x.shape[1] != len(self.W):
            raise ValueError(f"dense layer: expected (batch, {len(self.W)}), given {x.shape}")
        self.x = x
        y: Array = x @ self.W  # (batch, inputs) @ (inputs, units) -> (batch, units)
        y += self.b
        return y

    def backward(self, d_y: Array) -> Array:
        # yₙⱼ = Σᵢ xₙᵢ·Wᵢⱼ + bⱼ, so dL/dWᵢⱼ = Σₙ xₙᵢ·d_yₙⱼ, dL/dbⱼ = Σₙ d_yₙⱼ and dL/dxₙᵢ = Σⱼ d_yₙⱼ·Wᵢⱼ
        np.matmul(self.x.T, d_y, out=self.gradients["W"])  # (inputs, batch) @ (batch, units)
        np.sum(d_y, axis=0, out=self.gradients["b"])  # (units,)
        d_x: Array = d_y @ self.W.T  # (batch, units) @ (units, inputs) -> (batch, inputs)
        return d_x


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
            batch_mean, batch_variance = x.mean(axis=0), x.var(axis=0)  # (units,)
            mean += (1 - self.momentum) * (batch_mean - mean)
            variance += (1 - self.momentum) * (batch_variance - variance)
            mean, variance = batch_mean, batch_variance
        self.scale = 1 / np.sqrt(variance + self.epsilon)
        self.centred = (x - mean) * self.scale  # x̂, (batch, units)
        y: Array = self.parameters["gamma"] * self.centred
        y += self.parameters["beta"]
        return y

    def backward(self, d_y: Array) -> Array:
        d_gamma = np.sum(d_y * self.centred, axis=0, out=self.gradients["gamma"])
        d_beta = np.sum(d_y, axis=0, out=self.gradients["beta"])
        d_x = d_y.copy()
        if self.training:
            # mean and variance came from x too; what they take back is the part of d_y along 1 and along x̂
            d_x -= (d_beta + self.centred * d_gamma) / len(d_y)
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
        self.scale = 1 / np.sqrt(x.var(axis=1, keepdims=True) + self.epsilon)  # (batch, 1)
        self.centred = (x - x.mean(axis=1, keepdims=True)) * self.scale  # x̂, (batch, units)
        y: Array = self.parameters["gamma"] * self.centred
        y += self.parameters["beta"]
        return y

    def backward(self, d_y: Array) -> Array:
        np.sum(d_y * self.centred, axis=0, out=self.gradients["gamma"])
        np.sum(d_y, axis=0, out=self.gradients["beta"])
        d_centred = d_y * self.parameters["gamma"]
        along_x = (d_centred * self.centred).mean(axis=1, keepdims=True)
        d_x: Array = (d_centred - d_centred.mean(axis=1, keepdims=True) - self.centred * along_x) * self.scale
        return d_x

    def options(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon}


def check_width(layer: BatchNormalization | LayerNormalization, x: Array) -> None:
    """Broadcasting would let some wrong widths through."""
    units = len(layer.parameters["gamma"])
    if x.shape[1:] != (units,):
        raise ValueError(f"{layer.kind} layer: expected (batch, {units}), given {x.shape}")


class Scale(Layer):
    """y = (x - centre) · scale + shift with fixed numbers, each (units,): how inputs are brought to one size."""

    kind = "scale"

    def __init__(self, centre: npt.ArrayLike, scale: npt.ArrayLike, shift: npt.ArrayLike) -> None:
        super().__init__(state={"centre": np.asarray(centre), "scale": np.asarray(scale), "shift": np.asarray(shift)})

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        y: Array = (x - self.state["centre"]) * self.state["scale"]
        y += self.state["shift"]
        return y

    def backward(self, d_y: Array) -> Array:
        d_x: Array = d_y * self.state["scale"]
        return d_x


class Embedding(Layer):
    """A row of learned numbers for every level of a category: x (batch, 1) of level numbers -> (batch, units).

    The same as one-hot rows times the table, without the zeros. A number that is no level's counts as the last one.
    """

    kind = "embedding"

    def __init__(self, table: npt.ArrayLike) -> None:
        super().__init__({"table": np.asarray(table)})

    @classmethod
    def new(cls, levels: int, units: int, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Self:
        return cls(rng.uniform(-0.05, 0.05, (levels, units)).astype(dtype))  # as Keras starts one

    @property
    def table(self) -> Array:
        return self.parameters["table"]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        self.x = x
        self.index = level_numbers(x[:, 0], len(self.table) - 1)
        return np.take(self.table, self.index, axis=0)

    def backward(self, d_y: Array) -> Array:
        # a level's row was used in every row of the batch that has it: its gradient is the sum of theirs
        order = np.argsort(self.index, kind="stable")
        levels, starts = np.unique(self.index[order], return_index=True)
        d_table = self.gradients["table"]
        d_table.fill(0)
        if len(levels):
            d_table[levels] = np.add.reduceat(d_y[order], starts, axis=0)
        return np.zeros_like(self.x)  # a level number is a name; nothing changes with it a little


class Tabular(Layer):
    """The matrix of an `Architecture` taken apart: its numbers as they are, each category column through its table.

    x (batch, numbers + categories) -> (batch, numbers + all units of all tables), in the order of the columns.
    """

    kind = "tabular"

    def __init__(self, numbers: int, **tables: npt.ArrayLike) -> None:
        self.numbers = numbers
        self.embeddings = [Embedding(tables[f"table_{j}"]) for j in range(len(tables))]
        super().__init__({f"table_{j}": embedding.table for j, embedding in enumerate(self.embeddings)})
        self.gradients = {f"table_{j}": e.gradients["table"] for j, e in enumerate(self.embeddings)}

    @classmethod
    def new(
        cls,
        numbers: int,
        categories: Sequence[tuple[int, int]],
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
    ) -> Self:
        """Tables of shapes `categories`; the last row, which stands for levels never seen, is zero and stays so."""
        tables = [Embedding.new(levels, units, rng, dtype).table for levels, units in categories]
        for table in tables:
            table[-1] = 0
        return cls(numbers, **{f"table_{j}": table for j, table in enumerate(tables)})

    @property
    def tables(self) -> list[Array]:
        return [embedding.table for embedding in self.embeddings]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        columns = self.numbers + len(self.embeddings)
        if x.shape[1] != columns:
            raise ValueError(f"tabular layer: expected (batch, {columns}), given {x.shape}")
        parts = [x[:, : self.numbers]]
        for j, embedding in enumerate(self.embeddings, start=self.numbers):
            parts.append(embedding.forward(x[:, j : j + 1]))
        return np.concatenate(parts, axis=1)

    def backward(self, d_y: Array) -> Array:
        d_x = np.zeros((len(d_y), self.numbers + len(self.embeddings)), d_y.dtype)
        d_x[:, : self.numbers] = d_y[:, : self.numbers]
        start = self.numbers
        for embedding in self.embeddings:
            stop = start + embedding.table.shape[1]
            embedding.backward(d_y[:, start:stop])
            embedding.gradients["table"][-1] = 0  # the unseen level learns nothing, so it stays at zero
            start = stop
        return d_x

    def options(self) -> dict[str, Any]:
        return {"numbers": self.numbers}


LAYERS: dict[str, Callable[..., Layer]] = {
    layer.kind: layer
    for layer in (Dense, Activation, Dropout, BatchNormalization, LayerNormalization, Scale, Embedding, Tabular)
}


def inputs_of(layers: Sequence[Layer]) -> int:
    """The number of columns that the first layer with arrays asks for; layers without keep the width."""
    for layer in layers:
        if isinstance(layer, Tabular):
            return layer.numbers + len(layer.embeddings)
        if isinstance(layer, Embedding):
            return 1
        for array in (*layer.parameters.values(), *layer.state.values()):
            return len(array)
    raise ValueError("expected at least one layer that has weights")


def level_numbers(x: Array, last: Array | int) -> npt.NDArray[np.intp]:
    """Whole numbers held as floats, as indices; what is not in 0 to `last`, NaN too, is `last`: the unseen's row."""
    return np.where((x >= 0) & (x < last), x, last).astype(np.intp)
