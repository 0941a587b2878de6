"""A trained network made ready to answer: the same function of its inputs with less to compute.

Dropout goes; batch normalisation and scaling, (x - m)·a + c, go into the weights of a neighbouring dense layer; tables
of categories meet the first weights once and for all: with E the table and W_E its rows of W, looking up E and
multiplying is looking up T = E·W_E. Foldings are computed in float64 and rounded once.

Rows go through all layers in blocks, so that their activations stay in the processor's cache (100,000 rows, 256-128-1:
0.6 of the time of one large product a layer). Buffers kept per thread were measured beside fresh arrays and never won.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from models.network.activations import ActivationFunction, Array
from models.network.layers import (
    LAYERS,
    Activation,
    BatchNormalization,
    Dense,
    Dropout,
    Embedding,
    Layer,
    LayerNormalization,
    Scale,
    Tabular,
    inputs_of,
    level_numbers,
)

BLOCK = 1024
FEW = 16  # up to here looking up T is the cheaper way, above it gathering the narrow rows of E and one product
FAR = 8.0  # a centre so many units away is not folded: x·a and m·a would be rounded while large, and nearly cancel

Step = Callable[[Array], Array]
"""One layer's work. It may write over its argument; the first step, which gets the caller's array, never does."""


class InferenceNetwork:
    """x (rows, inputs) -> (rows, outputs), float32. A call changes nothing in it: any number of threads may call it."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = fold(layers)
        self.inputs = inputs_of(self.layers)
        self._steps = _steps(self.layers)

    def forward(self, x: npt.ArrayLike) -> Array:
        rows = np.asarray(x, dtype=np.float32)
        if rows.shape[1:] != (self.inputs,):
            raise ValueError(f"expected a matrix (rows, {self.inputs}), given shape {rows.shape}")
        if len(rows) <= BLOCK:
            return self._block(rows)
        return np.concatenate([self._block(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)])

    def _block(self, x: Array) -> Array:
        for step in self._steps:
            x = step(x)
        return x


def fold(layers: Sequence[Layer]) -> list[Layer]:
    """The layers that are left, in float64; as a network they answer what `layers` answered when not in training."""
    folded: list[Layer] = []
    for layer in layers:
        current: Layer | None = _plain(layer)
        while current is not None and folded and (one := _merged(folded[-1], current)) is not None:
            folded.pop()
            current = one
        if current is not None:
            folded.append(current)
    return folded


def _plain(layer: Layer) -> Layer | None:
    """What a layer is when nothing is learned: None if it does nothing, a Scale where it only scales."""
    arrays = {name: np.asarray(a, dtype=np.float64) for name, a in {**layer.parameters, **layer.state}.items()}
    if isinstance(layer, Dropout) or (isinstance(layer, Activation) and layer.options()["function"] == "linear"):
        return None
    if isinstance(layer, BatchNormalization):
        a = arrays["gamma"] / np.sqrt(arrays["moving_variance"] + layer.epsilon)
        return Scale(arrays["moving_mean"], a, arrays["beta"])
    return LAYERS[layer.kind](**arrays, **layer.options())


def _merged(first: Layer, then: Layer) -> Layer | None:
    """One layer for two, or None."""
    if isinstance(first, Dense) and isinstance(then, Scale):
        m, a, c = then.state.values()
        return Dense(first.W * a, (first.b - m) * a + c)  # (x·W + b - m)·a + c
    if isinstance(first, Scale) and isinstance(then, Dense):
        m, a, c = first.state.values()
        if np.abs(m * a).max(initial=0) <= FAR:
            return Dense(a[:, np.newaxis] * then.W, (c - m * a) @ then.W + then.b)  # ((x - m)·a + c)·W + b
    return None


def _steps(layers: Sequence[Layer]) -> list[Step]:
    steps: list[Step] = []
    rest = list(layers)
    while rest:
        layer = rest.pop(0)
        if isinstance(layer, Tabular | Embedding):
            tables = Tables(layer)
            dense = rest.pop(0) if rest and isinstance(rest[0], Dense) else None
            steps.append(tables.concatenated if dense is None else TablesTimesDense(tables, dense))
        elif isinstance(layer, Dense):
            steps.append(_dense(_float32(layer.W), _float32(layer.b)))
        else:
            if not steps:
                steps.append(np.copy)  # what follows writes in place, and the array is the caller's
            steps.append(_in_place(layer))
    return steps or [np.copy]


def _dense(W: Array, b: Array) -> Step:
    def dense(x: Array) -> Array:
        y: Array = x.dot(W)  # the same product as x @ W at half of its fixed cost
        y += b
        return y

    return dense


def _in_place(layer: Layer) -> Step:
    if isinstance(layer, Activation):
        return _activate(layer.function)
    if isinstance(layer, Scale):
        return _scale(*(_float32(array) for array in layer.state.values()))
    if isinstance(layer, LayerNormalization):
        return _normalise(_float32(layer.parameters["gamma"]), _float32(layer.parameters["beta"]), layer.epsilon)
    raise TypeError(f"no way to run a {layer.kind} layer")


def _activate(function: ActivationFunction) -> Step:
    forward = function.forward
    return lambda x: forward(x, x)


def _scale(m: Array, a: Array, c: Array) -> Step:
    def scale(x: Array) -> Array:
        x -= m
        x *= a
        x += c
        return x

    return scale


def _normalise(gamma: Array, beta: Array, epsilon: float) -> Step:
    units = len(gamma)

    def normalise(x: Array) -> Array:
        x -= x.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", x, x)[:, np.newaxis] / units  # (rows, 1)
        x *= 1 / np.sqrt(variance + epsilon)
        x *= gamma
        x += beta
        return x

    return normalise


class Tables:
    """The tables of categories: columns of level numbers to columns of learned ones."""

    def __init__(self, layer: Layer) -> None:
        self.numbers = layer.numbers if isinstance(layer, Tabular) else 0
        self.exact = layer.tables if isinstance(layer, Tabular) else [layer.parameters["table"]]
        self.tables = [_float32(table) for table in self.exact]
        self.last = np.array([len(table) - 1 for table in self.tables], dtype=np.float32)  # compared with such columns

    def index(self, x: Array) -> npt.NDArray[np.intp]:
        return level_numbers(x[:, self.numbers :], self.last)

    def concatenated(self, x: Array) -> Array:
        """(rows, numbers + categories) -> (rows, numbers + all units)"""
        index = self.index(x)
        looked_up = [table.take(index[:, j], axis=0) for j, table in enumerate(self.tables)]
        return np.concatenate([x[:, : self.numbers], *looked_up], axis=1)


class TablesTimesDense:
    """A look-up and the dense layer after it: for few rows x_numbers·W + b + Σⱼ Tⱼ[indexⱼ], for many as they stand."""

    def __init__(self, tables: Tables, dense: Layer) -> None:
        W, b = dense.parameters["W"], dense.parameters["b"]
        self.tables = tables
        self.dense = _dense(_float32(W), _float32(b))
        self.numbers = _dense(_float32(W[: tables.numbers]), _float32(b))
        ends = tables.numbers + np.cumsum([table.shape[1] for table in tables.exact])
        parts = np.split(W, ends)[:-1] if not tables.numbers else np.split(W, [tables.numbers, *ends])[1:-1]
        self.products = _float32(np.concatenate([E @ part for E, part in zip(tables.exact, parts, strict=True)]))
        self.starts = np.cumsum([0, *(len(E) for E in tables.exact[:-1])])  # where each T begins in `products`

    def __call__(self, x: Array) -> Array:
        if len(x) > FEW:
            return self.dense(self.tables.concatenated(x))
        index = self.tables.index(x)  # (rows, categories)
        index += self.starts
        y = self.numbers(x[:, : self.tables.numbers])
        y += np.add.reduce(self.products.take(index, axis=0), axis=1)  # (rows, categories, units) -> (rows, units)
        return y


def _float32(array: Array) -> Array:
    """Rounded, in one piece, and not to be written: many threads read it."""
    fixed: Array = np.ascontiguousarray(array, dtype=np.float32)
    if fixed is array:
        fixed = fixed.copy()
    fixed.setflags(write=False)
    return fixed
