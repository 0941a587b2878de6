"""Layers: each turns a batch into another, and hands a gradient back through itself.

`forward` keeps what `backward` needs. `backward` is given d_y = dL/dy, the gradient with respect to the layer's result;
it writes dL/dparameter into `gradients` and returns d_x = dL/dx, which is the d_y of the layer before. That is all of
backpropagation: the chain rule, one layer at a time, from the last to the first.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, Self, get_args

import numpy as np
import numpy.typing as npt

from models.architecture import Link
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
    def new(
        cls,
        levels: int,
        units: int,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
        deviation: float | None = None,
    ) -> Self:
        """Normal with that deviation, or between -0.05 and 0.05, as Keras starts one."""
        shape = (levels, units)
        drawn = rng.uniform(-0.05, 0.05, shape) if deviation is None else rng.normal(0, deviation, shape)
        return cls(drawn.astype(dtype))

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
        deviation: float | None = None,
    ) -> Self:
        """Tables of shapes `categories`; the last row, which stands for levels never seen, is zero and stays so."""
        tables = [Embedding.new(levels, units, rng, dtype, deviation).table for levels, units in categories]
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


class Periodic(Layer):
    """The first n columns told in waves, beside all columns as they are: (batch, d) -> (batch, d + n·e).

    Of column n there are h waves cₙ = cos(2π·xₙ·wₙ + phaseₙ), and relu(cₙ·Vₙ + bₙ) are e numbers made of them. Plain
    weighted sums are slow to learn what changes quickly with x; waves of high frequency tell neighbours apart.
    w and phase (n, h), V (n, h, e), b (n, e). Gorishniy et al. 2022, https://arxiv.org/abs/2203.05556.
    """

    kind = "periodic"

    def __init__(self, w: npt.ArrayLike, phase: npt.ArrayLike, V: npt.ArrayLike, b: npt.ArrayLike) -> None:
        super().__init__({"w": np.asarray(w), "phase": np.asarray(phase), "V": np.asarray(V), "b": np.asarray(b)})
        shapes = [array.shape for array in self.parameters.values()]
        n, h, e = self.V.shape if self.V.ndim == 3 else (0, 0, 0)
        if shapes != [(n, h), (n, h), (n, h, e), (n, e)]:
            raise ValueError(f"expected w (n, h), phase (n, h), V (n, h, e) and b (n, e), given {shapes}")

    @classmethod
    def new(
        cls,
        scales: Sequence[float],
        frequencies: int,
        embedding: int,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
    ) -> Self:
        """Frequencies of column n are drawn normal with standard deviation scales[n]: how finely it is looked at."""
        n, h, e = len(scales), frequencies, embedding
        limit = h**-0.5
        return cls(
            w=(rng.normal(size=(n, h)) * np.reshape(scales, (n, 1))).astype(dtype),
            phase=rng.uniform(-np.pi, np.pi, (n, h)).astype(dtype),
            V=rng.uniform(-limit, limit, (n, h, e)).astype(dtype),
            b=rng.uniform(-limit, limit, (n, e)).astype(dtype),
        )

    @property
    def V(self) -> Array:  # noqa: N802 - a matrix for each column
        return self.parameters["V"]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        columns = len(self.V)
        if x.ndim != 2 or x.shape[1] < columns:
            raise ValueError(f"periodic layer: expected (batch, {columns} or more), given {x.shape}")
        self.x = x[:, :columns]
        omega = self.parameters["w"] * self.V.dtype.type(2 * np.pi)
        self.angle = self.x[:, :, np.newaxis] * omega + self.parameters["phase"]  # (batch, n, h)
        self.waves = np.cos(self.angle)
        made = np.matmul(self.waves.swapaxes(0, 1), self.V)  # (n, batch, h) @ (n, h, e) -> (n, batch, e)
        self.made = np.maximum(made.swapaxes(0, 1) + self.parameters["b"], 0)  # (batch, n, e)
        return np.concatenate([x, self.made.reshape(len(x), self.parameters["b"].size)], axis=1)

    def backward(self, d_y: Array) -> Array:
        columns = d_y.shape[1] - self.parameters["b"].size
        d_made = d_y[:, columns:].reshape(self.made.shape) * (self.made > 0)  # (batch, n, e)
        by_column = d_made.swapaxes(0, 1)  # (n, batch, e)
        np.matmul(self.waves.transpose(1, 2, 0), by_column, out=self.gradients["V"])  # (n, h, batch) @ (n, batch, e)
        np.sum(d_made, axis=0, out=self.gradients["b"])
        d_waves = np.matmul(by_column, self.V.swapaxes(1, 2)).swapaxes(0, 1)  # (batch, n, h)
        d_angle = -np.sin(self.angle) * d_waves
        np.sum(d_angle, axis=0, out=self.gradients["phase"])
        two_pi = self.V.dtype.type(2 * np.pi)
        np.einsum("bnh,bn->nh", d_angle, self.x * two_pi, out=self.gradients["w"])
        d_x = d_y[:, :columns].copy()
        d_x[:, : len(self.V)] += np.einsum("bnh,nh->bn", d_angle, self.parameters["w"] * two_pi)
        return d_x


class Members(Layer):
    """Each member's own view of a row: yₖ = x·rₖ, (batch, d) -> (batch, members, d); r (members, d).

    At first every number of r is 1 or -1 at random, so that members that share all later weights learn to disagree,
    and the mean of many that err differently errs less. Gorishniy et al. 2024, https://arxiv.org/abs/2410.24210
    (TabM-mini), after Wen et al. 2020, https://arxiv.org/abs/2002.06715 (BatchEnsemble).
    """

    kind = "members"

    def __init__(self, r: npt.ArrayLike) -> None:
        super().__init__({"r": np.asarray(r)})
        if self.r.ndim != 2:
            raise ValueError(f"expected r (members, columns), given {self.r.shape}")

    @classmethod
    def new(cls, members: int, columns: int, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Self:
        return cls(rng.choice([-1, 1], (members, columns)).astype(dtype))

    @property
    def r(self) -> Array:
        return self.parameters["r"]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        if x.shape[1:] != self.r.shape[1:]:
            raise ValueError(f"members layer: expected (batch, {self.r.shape[1]}), given {x.shape}")
        self.x = x
        return x[:, np.newaxis, :] * self.r

    def backward(self, d_y: Array) -> Array:
        np.einsum("bkd,bd->kd", d_y, self.x, out=self.gradients["r"])
        d_x: Array = np.einsum("bkd,kd->bd", d_y, self.r)
        return d_x


class SharedDense(Layer):
    """A dense layer whose matrix members share, each with scales of its own: yₖ = ((xₖ·rₖ)·W)·sₖ + bₖ.

    (batch, members, inputs) -> (batch, members, units); a row that comes as (batch, inputs) is the same for all.
    W (inputs, units), r (members, inputs), s and b (members, units). It is the layer of BatchEnsemble and TabM.
    """

    kind = "shared_dense"

    def __init__(self, W: npt.ArrayLike, r: npt.ArrayLike, s: npt.ArrayLike, b: npt.ArrayLike) -> None:
        super().__init__({"W": np.asarray(W), "r": np.asarray(r), "s": np.asarray(s), "b": np.asarray(b)})
        shapes = [array.shape for array in self.parameters.values()]
        (d, units), k = np.shape(W) if np.ndim(W) == 2 else (0, 0), len(self.r)
        if shapes != [(d, units), (k, d), (k, units), (k, units)]:
            raise ValueError(
                f"expected W (inputs, units), r (members, inputs), s and b (members, units), given {shapes}"
            )

    @classmethod
    def new(
        cls,
        members: int,
        inputs: int,
        units: int,
        rng: np.random.Generator,
        first: bool,
        dtype: npt.DTypeLike = np.float32,
    ) -> Self:
        """`first`: members are given the same row, and r is at first 1 or -1 at random."""
        limit = inputs**-0.5
        r = rng.choice([-1, 1], (members, inputs)) if first else np.ones((members, inputs))
        b = rng.uniform(-limit, limit, (members, units))
        W = lecun(rng, inputs, units)
        return cls(W.astype(dtype), r.astype(dtype), np.ones((members, units), dtype), b.astype(dtype))

    @property
    def W(self) -> Array:  # noqa: N802 - the field's name for the matrix
        return self.parameters["W"]

    @property
    def r(self) -> Array:
        return self.parameters["r"]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        k, d = self.r.shape
        if x.shape[1:] not in ((d,), (k, d)):
            raise ValueError(f"shared_dense layer: expected (batch, {d}) or (batch, {k}, {d}), given {x.shape}")
        self.same = x.ndim == 2
        self.x = x[:, np.newaxis, :] if self.same else x
        self.own = (self.x * self.r).reshape(-1, d)
        self.u = (self.own @ self.W).reshape(-1, k, self.W.shape[1])  # (batch, members, units)
        y: Array = self.u * self.parameters["s"]
        y += self.parameters["b"]
        return y

    def backward(self, d_y: Array) -> Array:
        np.sum(d_y, axis=0, out=self.gradients["b"])
        np.einsum("bku,bku->ku", d_y, self.u, out=self.gradients["s"])
        d_u = (d_y * self.parameters["s"]).reshape(len(self.own), self.W.shape[1])  # (batch · members, units)
        np.matmul(self.own.T, d_u, out=self.gradients["W"])
        d_own = (d_u @ self.W.T).reshape(len(d_y), *self.r.shape)
        np.sum(d_own * self.x, axis=0, out=self.gradients["r"])
        d_x: Array = d_own * self.r
        return d_x.sum(axis=1) if self.same else d_x


class MemberDense(Layer):
    """A dense layer for each member: yₖ = xₖ·Wₖ + bₖ, (batch, members, inputs) -> (batch, members, units).

    W (members, inputs, units), b (members, units).
    """

    kind = "member_dense"

    def __init__(self, W: npt.ArrayLike, b: npt.ArrayLike) -> None:
        super().__init__({"W": np.asarray(W), "b": np.asarray(b)})
        if self.W.ndim != 3 or self.b.shape != (len(self.W), self.W.shape[2]):
            shapes = f"{self.W.shape} and {self.b.shape}"
            raise ValueError(f"expected W (members, inputs, units) and b (members, units), given {shapes}")

    @classmethod
    def new(
        cls, members: int, inputs: int, units: int, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
    ) -> Self:
        limit = inputs**-0.5
        W = rng.uniform(-limit, limit, (members, inputs, units)).astype(dtype)
        return cls(W, np.zeros((members, units), dtype))

    @property
    def W(self) -> Array:  # noqa: N802 - the field's name for the matrix
        return self.parameters["W"]

    @property
    def b(self) -> Array:
        return self.parameters["b"]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        if x.ndim != 3 or x.shape[1:] != self.W.shape[:2]:
            expected = ", ".join(map(str, self.W.shape[:2]))
            raise ValueError(f"member_dense layer: expected (batch, {expected}), given {x.shape}")
        self.x = x.swapaxes(0, 1)  # (members, batch, inputs)
        y: Array = np.matmul(self.x, self.W).swapaxes(0, 1) + self.b
        return y

    def backward(self, d_y: Array) -> Array:
        by_member = d_y.swapaxes(0, 1)  # (members, batch, units)
        np.matmul(self.x.swapaxes(1, 2), by_member, out=self.gradients["W"])
        np.sum(d_y, axis=0, out=self.gradients["b"])
        d_x: Array = np.matmul(by_member, self.W.swapaxes(1, 2)).swapaxes(0, 1)  # (batch, members, inputs)
        return d_x


class MemberMean(Layer):
    """What the members say together: (batch, members, outputs) -> (batch, outputs), on the scale of a single one.

    Link "linear": the mean of their values. "sigmoid": the logit of the mean of their probabilities. "softmax": its
    logarithm. In training it stands aside: every member is to fit the target by itself, and the loss sees them all.
    """

    kind = "member_mean"

    def __init__(self, link: Link = "linear") -> None:
        if link not in get_args(Link):
            raise ValueError(f"link: expected one of {', '.join(get_args(Link))}, given {link!r}")
        super().__init__()
        self.link = link

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        self.training = training
        return x if training else member_mean(x, self.link, axis=1)

    def backward(self, d_y: Array) -> Array:
        if not self.training:
            raise RuntimeError("members are trained each by itself: no gradient goes back through their mean")
        return d_y

    def options(self) -> dict[str, Any]:
        return {"link": self.link}


def member_mean(x: Array, link: Link, axis: int) -> Array:
    """The mean over the members' axis of logits (..., outputs), taken where `link` says."""
    if link == "linear":
        mean: Array = x.mean(axis=axis)
        return mean
    if link == "sigmoid":  # log(Σ p / Σ (1 - p)): the factor 1 / members cancels
        log_not = -activations.Softplus().forward(x)  # log(1 - p); log p is that and x
        logit: Array = log_sum_exp(log_not + x, axis) - log_sum_exp(log_not, axis)
        return logit
    log_p = x - log_sum_exp(x, -1)[..., np.newaxis]
    log_mean: Array = log_sum_exp(log_p, axis) - np.log(x.dtype.type(x.shape[axis]))
    return log_mean


def log_sum_exp(x: Array, axis: int) -> Array:
    """log Σ eˣ over an axis, with the largest x taken out of the sum so that nothing overflows."""
    largest = x.max(axis=axis, keepdims=True)
    total: Array = np.log(np.exp(x - largest).sum(axis=axis)) + largest.squeeze(axis)
    return total


LAYERS: dict[str, Callable[..., Layer]] = {
    layer.kind: layer
    for layer in (
        Dense,
        Activation,
        Dropout,
        BatchNormalization,
        LayerNormalization,
        Scale,
        Embedding,
        Tabular,
        Periodic,
        Members,
        SharedDense,
        MemberDense,
        MemberMean,
    )
}


def inputs_of(layers: Sequence[Layer]) -> int:
    """The number of columns that the first layer with arrays asks for; layers without keep the width."""
    added = 0  # columns that a periodic layer puts beside those it is given
    for layer in layers:
        if isinstance(layer, Tabular):
            return layer.numbers + len(layer.embeddings)
        if isinstance(layer, Embedding):
            return 1
        if isinstance(layer, Periodic):
            added += layer.parameters["b"].size
        elif isinstance(layer, Members | SharedDense):
            return int(layer.r.shape[1]) - added
        else:
            for array in (*layer.parameters.values(), *layer.state.values()):
                return len(array) - added
    raise ValueError("expected at least one layer that has weights")


def level_numbers(x: Array, last: Array | int) -> npt.NDArray[np.intp]:
    """Whole numbers held as floats, as indices; what is not in 0 to `last`, NaN too, is `last`: the unseen's row."""
    return np.where((x >= 0) & (x < last), x, last).astype(np.intp)
