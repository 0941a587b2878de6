"""The input block: computes embedding tables, periodic features and the first dense layer as one step.

Let E be a table and W_E the rows of W by which its embedding is multiplied. Looking up E and multiplying by W_E equals
looking up T = E·W_E, which is cheaper for few rows. For many rows it is cheaper to look up the narrow rows of E and
compute one product.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.network.activations import ZERO, Array
from models.network.inference_steps import dense_step, float32
from models.network.tabular_layers import Embedding, Periodic, Tabular, level_numbers

FEW_ROWS = 16  # up to this number of rows one sparse product, or a lookup, is cheaper than several products
MAX_BLOCK_DIAGONAL = 65_536  # maximum size of a block-diagonal matrix: its zeros are multiplied, but one call is enough


class EmbeddingLookup:
    """The embedding tables of categories, which replace columns of level numbers by columns of learned numbers."""

    def __init__(self, layer: Tabular | Embedding) -> None:
        self.numbers = layer.numbers if isinstance(layer, Tabular) else 0
        self.exact = layer.tables if isinstance(layer, Tabular) else [layer.table]
        self.tables = [float32(table) for table in self.exact]
        self.last = np.array([len(table) - 1 for table in self.tables], dtype=np.float32)  # the unseen level's number

    def index(self, x: Array) -> npt.NDArray[np.intp]:
        return level_numbers(x[:, self.numbers :], self.last)

    def __call__(self, x: Array) -> Array:
        """(rows, numbers + categories) -> (rows, numbers + all units)"""
        index = self.index(x)
        looked_up = [table.take(index[:, j], axis=0) for j, table in enumerate(self.tables)]
        return np.concatenate([x[:, : self.numbers], *looked_up], axis=1)


class PeriodicFeatures:
    """A periodic layer: (rows, d) -> (rows, d + columns · embedding).

    For few rows all columns are computed by one product with block-diagonal matrices. These contain an additional
    frequency 0: its cos(0) = 1 multiplies the bias, which is the last row of the matrix.
    """

    def __init__(self, layer: Periodic) -> None:
        w, phase, V, b = layer.parameters.values()
        self.columns, h, e = n, _, _ = V.shape
        self.omega = float32(w.astype(np.float32) * np.float32(2 * np.pi))  # rounded as in training: angles are large
        self.phase, self.V, self.b = float32(phase), float32(V), float32(b.reshape(-1))
        self.one_product = n * h * n * e <= MAX_BLOCK_DIAGONAL
        if self.one_product:
            zero_frequency = [(0, 0), (0, 1)]
            self.all_omega = float32(np.pad(block_diagonal(self.omega[:, np.newaxis]), zero_frequency))
            self.all_phase = float32(np.append(phase, 0)[np.newaxis])
            self.all_V = float32(np.vstack([block_diagonal(V), b.reshape(1, -1)]))

    def __call__(self, x: Array) -> Array:
        rows, d = x.shape
        y = np.empty((rows, d + len(self.b)), np.float32)
        y[:, :d] = x
        periodic = x[:, : self.columns]
        if self.one_product and rows <= FEW_ROWS:
            angle = periodic.dot(self.all_omega)  # (rows, columns · frequencies + 1)
            angle += self.all_phase
            features = np.cos(angle, angle).dot(self.all_V)
        else:
            angle = periodic[:, :, np.newaxis] * self.omega  # (rows, columns, frequencies)
            angle += self.phase
            by_column = np.cos(angle, angle).swapaxes(0, 1)  # (columns, rows, frequencies)
            features = np.matmul(by_column, self.V).swapaxes(0, 1).reshape(rows, len(self.b))
            features += self.b
        np.maximum(features, ZERO, out=y[:, d:])
        return y


class InputBlock:
    """Embedding tables and periodic features, each of which may be absent, and the dense layer after them.

    For few rows it computes x_numbers·W + Σⱼ Tⱼ[indexⱼ], with b added to T₀; for many rows it computes one layer after
    the other.
    """

    def __init__(self, lookup: EmbeddingLookup | None, periodic: PeriodicFeatures | None, W: Array, b: Array) -> None:
        self.lookup, self.periodic = lookup, periodic
        self.dense = dense_step(W, b)
        self.sum_products = lookup is not None and (periodic is None or periodic.columns <= lookup.numbers)
        if lookup is None:
            return
        ends = lookup.numbers + np.cumsum([0, *(table.shape[1] for table in lookup.exact)])
        parts = [W[start:end] for start, end in pairwise(ends)]
        self.W_numbers = float32(np.delete(W, np.s_[ends[0] : ends[-1]], axis=0))
        products = [E @ W_E for E, W_E in zip(lookup.exact, parts, strict=True)]
        products[0] += b
        self.products = float32(np.concatenate(products))  # all T, stacked vertically
        self.last = lookup.last
        self.starts = np.cumsum([0, *(len(E) for E in lookup.exact[:-1])])  # the first row of each T in `products`
        self.places = [(int(start), len(E) - 1) for start, E in zip(self.starts, lookup.exact, strict=True)]
        self.ones = float32(np.ones((1, len(parts))))

    def __call__(self, x: Array) -> Array:
        lookup, periodic = self.lookup, self.periodic
        if lookup is None:
            return self.dense(x if periodic is None else periodic(x))
        if len(x) > FEW_ROWS or not self.sum_products:
            looked_up = lookup(x)
            return self.dense(looked_up if periodic is None else periodic(looked_up))
        numbers = x[:, : lookup.numbers]
        y: Array = (numbers if periodic is None else periodic(numbers)).dot(self.W_numbers)
        y += self._summed_products(x[:, lookup.numbers :])
        return y

    def _summed_products(self, levels: Array) -> Array:
        """(rows, categories) -> (rows, units): for each row, the sum of the rows of T that belong to its levels."""
        if len(levels) != 1:
            index = level_numbers(levels, self.last) + self.starts
            summed: Array = np.add.reduce(self.products.take(index, axis=0), axis=1)
            return summed
        (row,) = levels.tolist()  # for a single row Python computes the index in a third of the time
        pairs = zip(row, self.places, strict=True)
        index = [start + int(level) if 0 <= level < last else start + last for level, (start, last) in pairs]
        total: Array = self.ones.dot(self.products.take(index, axis=0))
        return total


def block_diagonal(blocks: Array) -> Array:
    """(n, inputs, units) -> (n * inputs, n * units), with zeros outside of the blocks."""
    n, inputs, units = blocks.shape
    return np.asarray(np.eye(n)[:, np.newaxis, :, np.newaxis] * blocks[:, :, np.newaxis]).reshape(n * inputs, n * units)
