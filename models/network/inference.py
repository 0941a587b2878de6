"""A trained network made ready to answer: the same function of its inputs with less to compute.

Dropout goes; batch normalisation and scaling, (x - m)·a + c, go into the weights of a neighbouring dense layer; tables
of categories meet the first weights once and for all: with E the table and W_E its rows of W, looking up E and
multiplying is looking up T = E·W_E. Members, too, meet the first weights: ((x·rₖ)·W)·sₖ is x·Wₖ with the rows of W
taken rₖ times and its columns sₖ times, and all Wₖ side by side are one matrix. From there on members are further rows,
(rows · members, units), and one product serves them all. Foldings are computed in float64 and rounded once.

Rows go through all layers in blocks, so that their activations stay in the processor's cache (100,000 rows, 256-128-1:
0.6 of the time of one large product a layer). Buffers kept per thread were measured beside fresh arrays and never won.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from models.network.activations import ZERO, ActivationFunction, Array, ReLU
from models.network.ensemble_layers import MemberDense, MemberMean, Members, SharedDense, member_mean
from models.network.layer_types import LAYERS, inputs_of
from models.network.layers import Activation, BatchNormalization, Dense, Dropout, Layer, LayerNormalization
from models.network.tabular_layers import Embedding, Periodic, Scale, Tabular, level_numbers

BLOCK = 1024  # rows, those of members counted
FEW = 16  # up to here looking up T is the cheaper way, above it gathering the narrow rows of E and one product
MOST_ZEROS = 65_536  # numbers of a matrix that are 0 but for blocks, multiplied all the same for the sake of one call
SMALL = 1e-3  # a scale below it is not divided by
FAR = 8.0  # a centre so many units away is not folded: x·a and m·a would be rounded while large, and nearly cancel

L = TypeVar("L", bound=Layer)
Step = Callable[[Array], Array]
"""One layer's work. It may write over its argument; the first step, which gets the caller's array, never does."""


class InferenceNetwork:
    """x (rows, inputs) -> (rows, outputs), float32. A call changes nothing in it: any number of threads may call it."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = fold(layers)
        self.inputs = inputs_of(self.layers)
        self._steps = _steps(self.layers)
        self._rows = max(1, BLOCK // members_of(self.layers))

    def forward(self, x: npt.ArrayLike) -> Array:
        rows = np.asarray(x, dtype=np.float32)
        if rows.shape[1:] != (self.inputs,):
            raise ValueError(f"expected a matrix (rows, {self.inputs}), given shape {rows.shape}")
        if len(rows) <= self._rows:
            return self._block(rows)
        return np.concatenate([self._block(rows[i : i + self._rows]) for i in range(0, len(rows), self._rows)])

    def _block(self, x: Array) -> Array:
        for step in self._steps:
            x = step(x)
        return x


def members_of(layers: Sequence[Layer]) -> int:
    return max([len(layer.r) for layer in layers if isinstance(layer, Members | SharedDense)] or [1])


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
    return _through_relu(folded)


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
    if isinstance(first, Members) and isinstance(then, Dense):
        ones = np.ones((len(first.r), 1))
        return SharedDense(then.W, first.r, ones * np.ones_like(then.b), ones * then.b)  # (x·rₖ)·W + b
    return None


def _through_relu(layers: Sequence[Layer]) -> list[Layer]:
    """As relu(a·x) = a·relu(x) for a > 0, scales of members move to where they cost nothing.

    The first shared layer becomes one matrix with its r and s; so what r there is after it goes into it. Of any other,
    s goes into what comes next. Signs stay.
    """
    moved = list(layers)
    first = True
    for i, layer in enumerate(layers[:-2]):
        bend, then = moved[i + 1], moved[i + 2]
        now = moved[i]
        if not isinstance(now, SharedDense):
            first = first and not isinstance(layer, Members)
            continue
        W, r, s, b = now.parameters.values()
        is_relu = isinstance(bend, Activation) and isinstance(bend.function, ReLU)
        if first and is_relu and isinstance(then, SharedDense):
            a = np.abs(then.r)
            moved[i] = SharedDense(W, r, s * a, b * a)
            moved[i + 2] = SharedDense(**{**then.parameters, "r": np.sign(then.r)})
        elif not first and is_relu and isinstance(then, SharedDense | MemberDense) and np.abs(s).min() > SMALL:
            a = np.abs(s)
            moved[i] = SharedDense(W, r, np.sign(s), b / a)
            if isinstance(then, SharedDense):
                moved[i + 2] = SharedDense(**{**then.parameters, "r": then.r * a})
            else:
                moved[i + 2] = MemberDense(then.W * a[:, :, np.newaxis], then.b)
        first = False
    return moved


def _steps(layers: Sequence[Layer]) -> list[Step]:
    steps: list[Step] = []
    rest = list(layers)

    def next_if(kind: type[L]) -> L | None:
        return rest.pop(0) if rest and isinstance(rest[0], kind) else None  # type: ignore[return-value]

    one_for_all = True  # until members part
    while rest:
        if one_for_all and isinstance(rest[0], Tabular | Embedding | Periodic | Members | SharedDense | Dense):
            tables, periodic = next_if(Tabular) or next_if(Embedding), next_if(Periodic)
            dense = next_if(SharedDense) or next_if(Dense)
            steps.extend(_entry(tables, periodic, dense))
            one_for_all = not isinstance(dense, SharedDense)
            if one_for_all and (members := next_if(Members)) is not None:
                steps.append(_members(_float32(members.r)))
                one_for_all = False
        elif (shared := next_if(SharedDense)) is not None:
            steps.append(_shared_dense(shared))
        elif (own := next_if(MemberDense)) is not None:
            steps.append(_member_dense(own, next_if(MemberMean)))
        elif (plain := next_if(Dense)) is not None:
            steps.append(_dense(plain.W, plain.b))
        else:
            if not steps:
                steps.append(np.copy)  # what follows writes in place, and the array is the caller's
            steps.append(_in_place(rest.pop(0)))
    return steps or [np.copy]


def _entry(
    tables: Tabular | Embedding | None, periodic: Periodic | None, dense: Dense | SharedDense | None
) -> Iterator[Step]:
    """Of these layers, each of which may be absent: with a dense layer at the end they are one step."""
    looked_up = None if tables is None else Tables(tables)
    waves = None if periodic is None else Waves(periodic)
    if dense is None:
        yield from filter(None, (looked_up, waves))
    elif isinstance(dense, Dense):
        yield Entry(looked_up, waves, dense.W, dense.b) if looked_up or waves else _dense(dense.W, dense.b)
    else:
        W, r, s, b = dense.parameters.values()
        k, units = b.shape
        own = r[:, :, np.newaxis] * W * s[:, np.newaxis]  # (members, inputs, units)
        yield Entry(looked_up, waves, own.swapaxes(0, 1).reshape(-1, k * units), b.reshape(-1))
        yield lambda x: x.reshape(-1, units)  # (rows, members · units) -> (rows · members, units)


def _dense(W: Array, b: Array) -> Step:
    W, b = _float32(W), _float32(b)

    def dense(x: Array) -> Array:
        y: Array = x.dot(W)  # the same product as x @ W at half of its fixed cost
        y += b
        return y

    return dense


def _members(r: Array) -> Step:
    return lambda x: (x[:, np.newaxis, :] * r).reshape(-1, r.shape[1])  # (rows, d) -> (rows · members, d)


def _shared_dense(layer: SharedDense) -> Step:
    """(rows · members, inputs) -> (rows · members, units)."""
    W, r, s, b = (_float32(array) for array in layer.parameters.values())
    (k, units), inputs = b.shape, len(W)
    with_r, with_s = bool((r != 1).any()), bool((s != 1).any())

    def shared_dense(x: Array) -> Array:
        if with_r:
            by_row = x.reshape(-1, k, inputs)
            by_row *= r
        y: Array = x.dot(W)
        by_row = y.reshape(-1, k, units)
        if with_s:
            by_row *= s
        by_row += b
        return y

    return shared_dense


def _member_dense(layer: MemberDense, mean: MemberMean | None) -> Step:
    """A dense layer for each member, and where it is the last one what they say together."""
    k, inputs, units = layer.W.shape
    if mean is not None and mean.link == "linear":  # the mean of products is a product
        answer = _dense(layer.W.reshape(k * inputs, units) / k, layer.b.mean(axis=0))
        return lambda x: answer(x.reshape(-1, k * inputs))
    W, b = _float32(layer.W), _float32(layer.b)
    for_few = _dense(_block_diagonal(layer.W), layer.b.reshape(-1)) if k * layer.W.size <= MOST_ZEROS else None

    def member_dense(x: Array) -> Array:
        rows = len(x) // k
        if for_few is not None and rows <= FEW:
            z = for_few(x.reshape(rows, k * inputs)).reshape(rows, k, units)
        else:
            by_member = x.reshape(rows, k, inputs).swapaxes(0, 1)
            z = np.matmul(by_member, W).swapaxes(0, 1)  # (members, rows, inputs) @ (members, inputs, units)
            z += b
        if mean is None:
            return z.reshape(-1, units)
        if mean.link == "sigmoid" and z.size == k:
            return mean_probability(z)
        return member_mean(z, mean.link, axis=1)

    return member_dense


def mean_probability(logits: Array) -> Array:
    """`member_mean` of a single row's logits (1, members, 1), where NumPy's fixed costs are higher than Python's."""
    yes = no = 0.0
    for logit in logits.ravel().tolist():
        e = math.exp(math.copysign(700.0, -logit) if abs(logit) > 700.0 else -logit)  # beyond, it overflows
        p = 1.0 / (1.0 + e)
        yes += p
        no += e * p
    return np.full((1, 1), math.log(yes / no), dtype=np.float32)


def _block_diagonal(blocks: Array) -> Array:
    """(n, inputs, units) -> (n * inputs, n * units), 0 outside of the blocks."""
    n, inputs, units = blocks.shape
    return np.asarray(np.eye(n)[:, np.newaxis, :, np.newaxis] * blocks[:, :, np.newaxis]).reshape(n * inputs, n * units)


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

    def __call__(self, x: Array) -> Array:
        """(rows, numbers + categories) -> (rows, numbers + all units)"""
        index = self.index(x)
        looked_up = [table.take(index[:, j], axis=0) for j, table in enumerate(self.tables)]
        return np.concatenate([x[:, : self.numbers], *looked_up], axis=1)


class Waves:
    """A periodic layer: (rows, d) -> (rows, d + columns · embedding).

    For few rows all its columns are one product, with matrices that are 0 but for their blocks, and with one wave more
    that never moves: cos(0) = 1, and b is its row of the matrix.
    """

    def __init__(self, layer: Periodic) -> None:
        w, phase, V, b = layer.parameters.values()
        self.columns, h, e = n, _, _ = V.shape
        self.omega = _float32(w.astype(np.float32) * np.float32(2 * np.pi))  # rounded as in training: angles are large
        self.phase, self.V, self.b = _float32(phase), _float32(V), _float32(b.reshape(-1))
        self.one_product = n * h * n * e <= MOST_ZEROS
        if self.one_product:
            still = [(0, 0), (0, 1)]
            self.all_omega = _float32(np.pad(_block_diagonal(self.omega[:, np.newaxis]), still))
            self.all_phase = _float32(np.append(phase, 0))
            self.all_V = _float32(np.vstack([_block_diagonal(V), b.reshape(1, -1)]))

    def __call__(self, x: Array) -> Array:
        rows, d = x.shape
        y = np.empty((rows, d + len(self.b)), np.float32)
        y[:, :d] = x
        moving = x[:, : self.columns]
        if self.one_product and rows <= FEW:
            waves = moving.dot(self.all_omega)  # (rows, columns · frequencies + 1)
            waves += self.all_phase
            made = np.cos(waves, waves).dot(self.all_V)
        else:
            waves = moving[:, :, np.newaxis] * self.omega  # (rows, columns, frequencies)
            waves += self.phase
            by_column = np.cos(waves, waves).swapaxes(0, 1)  # (columns, rows, frequencies)
            made = np.matmul(by_column, self.V).swapaxes(0, 1).reshape(rows, len(self.b))
            made += self.b
        np.maximum(made, ZERO, out=y[:, d:])
        return y


class Entry:
    """Tables and waves, either of which may be absent, and the dense layer after them.

    For few rows x_numbers·W + Σⱼ Tⱼ[indexⱼ], b added to T₀; for many, rows as they stand and one product.
    """

    def __init__(self, tables: Tables | None, waves: Waves | None, W: Array, b: Array) -> None:
        self.tables, self.waves = tables, waves
        self.dense = _dense(W, b)
        self.for_few = tables is not None and (waves is None or waves.columns <= tables.numbers)
        if tables is None:
            return
        ends = tables.numbers + np.cumsum([0, *(table.shape[1] for table in tables.exact)])
        parts = [W[start:end] for start, end in pairwise(ends)]
        self.W_numbers = _float32(np.delete(W, np.s_[ends[0] : ends[-1]], axis=0))
        products = [E @ part for E, part in zip(tables.exact, parts, strict=True)]
        products[0] += b
        self.products = _float32(np.concatenate(products))
        self.last = tables.last
        self.starts = np.cumsum([0, *(len(E) for E in tables.exact[:-1])])  # where each T begins in `products`
        self.places = [(int(start), len(E) - 1) for start, E in zip(self.starts, tables.exact, strict=True)]
        self.ones = _float32(np.ones((1, len(parts))))

    def __call__(self, x: Array) -> Array:
        tables, waves = self.tables, self.waves
        if tables is None:
            return self.dense(x if waves is None else waves(x))
        if len(x) > FEW or not self.for_few:
            looked_up = tables(x)
            return self.dense(looked_up if waves is None else waves(looked_up))
        numbers = x[:, : tables.numbers]
        y: Array = (numbers if waves is None else waves(numbers)).dot(self.W_numbers)
        y += self._looked_up(x[:, tables.numbers :])
        return y

    def _looked_up(self, levels: Array) -> Array:
        """(rows, categories) -> (rows, units): the sum of the rows of T."""
        if len(levels) != 1:
            index = level_numbers(levels, self.last) + self.starts
            summed: Array = np.add.reduce(self.products.take(index, axis=0), axis=1)
            return summed
        (row,) = levels.tolist()  # of a single one Python makes it in a third of the time
        pairs = zip(row, self.places, strict=True)
        index = [start + int(level) if 0 <= level < last else start + last for level, (start, last) in pairs]
        total: Array = self.ones.dot(self.products.take(index, axis=0))
        return total


def _float32(array: Array) -> Array:
    """Rounded, in one piece, and not to be written: many threads read it."""
    fixed: Array = np.ascontiguousarray(array, dtype=np.float32)
    if fixed is array:
        fixed = fixed.copy()
    fixed.setflags(write=False)
    return fixed
