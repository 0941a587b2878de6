"""Layers for tables: fixed scaling, embeddings of categories and periodic features of numbers."""

from __future__ import annotations  # without it, np.random.Generator would load numpy.random, 2.7 MB per worker

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.network.activations import Array
from models.network.layers import Layer


class Scale(Layer):
    """y = (x - centre) · scale + shift with fixed numbers, each (units,). It brings all inputs to the same scale."""

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
    """Replaces each level of a category by a row of learned numbers: level numbers x (batch, 1) -> (batch, units).

    The result equals one-hot rows times the table, without multiplications by zero. A number out of range means the
    last level.
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
        """A layer with initial weights: normal with this standard deviation or, as in Keras, uniform between -0.05 and
        0.05."""
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
        # all rows of the batch with the same level used the same row of the table, whose gradient is the sum over them
        order = np.argsort(self.index, kind="stable")
        levels, starts = np.unique(self.index[order], return_index=True)
        d_table = self.gradients["table"]
        d_table.fill(0)
        if len(levels):
            d_table[levels] = np.add.reduceat(d_y[order], starts, axis=0)
        return np.zeros_like(self.x)  # a level number is an index, so there is no derivative with respect to it


class Take(Layer):
    """Selects columns of the input, in this order: (batch, d) -> (batch, columns)."""

    kind = "take"

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.columns = list(columns)

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        self.shape = x.shape
        y: Array = x.take(self.columns, axis=1)
        return y

    def backward(self, d_y: Array) -> Array:
        d_x = np.zeros(self.shape, d_y.dtype)
        for place, column in enumerate(self.columns):
            d_x[:, column] += d_y[:, place]
        return d_x

    def options(self) -> dict[str, Any]:
        return {"columns": self.columns}


class Tabular(Layer):
    """The input layer of an `Architecture`: numbers are unchanged, and each category column is embedded.

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
        """A layer with initial tables of shapes `categories`. The last row, for unseen levels, is zero and remains
        zero."""
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
            embedding.gradients["table"][-1] = 0  # the row of unseen levels is not trained
            start = stop
        return d_x

    def options(self) -> dict[str, Any]:
        return {"numbers": self.numbers}


class Periodic(Layer):
    """Appends periodic features of the first n columns to the unchanged columns: (batch, d) -> (batch, d + n·e).

    Column n has h cosines cₙ = cos(2π·xₙ·wₙ + phaseₙ), and relu(cₙ·Vₙ + bₙ) are its e features. Weighted sums of x are
    slow to learn functions that change quickly with x; cosines of high frequency separate neighbouring values. w and
    phase (n, h), V (n, h, e), b (n, e). Gorishniy et al. 2022, https://arxiv.org/abs/2203.05556.
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
        """A layer with initial weights. The frequencies of column n are normal with standard deviation scales[n]."""
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
        self.cosines = np.cos(self.angle)
        products = np.matmul(self.cosines.swapaxes(0, 1), self.V)  # (n, batch, h) @ (n, h, e) -> (n, batch, e)
        self.features = np.maximum(products.swapaxes(0, 1) + self.parameters["b"], 0)  # (batch, n, e)
        return np.concatenate([x, self.features.reshape(len(x), self.parameters["b"].size)], axis=1)

    def backward(self, d_y: Array) -> Array:
        columns = d_y.shape[1] - self.parameters["b"].size
        d_features = d_y[:, columns:].reshape(self.features.shape) * (self.features > 0)  # (batch, n, e)
        by_column = d_features.swapaxes(0, 1)  # (n, batch, e)
        np.matmul(self.cosines.transpose(1, 2, 0), by_column, out=self.gradients["V"])  # (n, h, batch) @ (n, batch, e)
        np.sum(d_features, axis=0, out=self.gradients["b"])
        d_cosines = np.matmul(by_column, self.V.swapaxes(1, 2)).swapaxes(0, 1)  # (batch, n, h)
        d_angle = -np.sin(self.angle) * d_cosines
        np.sum(d_angle, axis=0, out=self.gradients["phase"])
        two_pi = self.V.dtype.type(2 * np.pi)
        np.einsum("bnh,bn->nh", d_angle, self.x * two_pi, out=self.gradients["w"])
        d_x = d_y[:, :columns].copy()
        d_x[:, : len(self.V)] += np.einsum("bnh,nh->bn", d_angle, self.parameters["w"] * two_pi)
        return d_x


def level_numbers(x: Array, last: Array | int) -> npt.NDArray[np.intp]:
    """Convert whole numbers, stored as floats, to indices. NaN and any number outside 0 to `last` become `last`, the
    index of unseen levels."""
    return np.where((x >= 0) & (x < last), x, last).astype(np.intp)
