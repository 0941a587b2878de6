"""The inference network: a trained network for predictions only, with fewer operations and no mutable state.

`folding` reduces the number of layers, `input_block` combines the layers at the input into one step, and
`inference_steps` turns each other layer into one step. The input block also computes the first layer of ensemble
members: ((x·rₖ)·W)·sₖ is x·Wₖ, with the rows of W multiplied by rₖ and its columns by sₖ, and all Wₖ side by side are
one matrix. After the input block the members are treated as additional rows.

Rows are computed in blocks, each through all layers, so that their activations stay in the processor's cache (for
100,000 rows and a 256-128-1 network, this takes 0.6 of the time of one large product per layer). Buffers per thread
were never faster than new arrays.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from models.network.activations import Array
from models.network.branches import Branches, join_values
from models.network.ensemble_layers import MemberDense, MemberMean, Members, SharedDense
from models.network.folding import fold
from models.network.inference_steps import (
    Step,
    dense_step,
    in_place_step,
    member_dense_step,
    members_step,
    shared_dense_step,
    take_step,
)
from models.network.input_block import EmbeddingLookup, InputBlock, PeriodicFeatures
from models.network.layer_types import input_width
from models.network.layers import Dense, Layer
from models.network.scale_head import split_output_layer
from models.network.tabular_layers import Embedding, Periodic, Tabular, Take

INPUT_LAYERS = (Tabular, Embedding, Periodic, SharedDense, Dense)
BLOCK_ROWS = 1024  # each member of a row counts as a row

L = TypeVar("L", bound=Layer)


class InferenceNetwork:
    """Computes x (rows, inputs) -> (rows, outputs) in float32. Any number of threads may call it at the same time."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = fold(layers)
        self.inputs = input_width(self.layers)
        self._steps = make_steps(self.layers)
        self._rows = max(1, BLOCK_ROWS // member_count(self.layers))
        self.sums_inputs = isinstance(self.layers[0], INPUT_LAYERS) if self.layers else False

    def forward(self, x: npt.ArrayLike) -> Array:
        rows = np.asarray(x, dtype=np.float32)
        if rows.shape[1:] != (self.inputs,):
            raise ValueError(f"expected a matrix (rows, {self.inputs}), given shape {rows.shape}")
        return self._run_in_blocks(rows, self._steps)

    @property
    def steps(self) -> Sequence[Step]:
        """The functions that `forward` calls, in this order, for a few float32 rows."""
        return self._steps

    def input_sums(self, x: Array) -> Array:
        """(rows, inputs) -> (rows, units): the first step, a sum with one term for each input. Only for networks with
        `sums_inputs`."""
        return self._run_in_blocks(x, self._steps[:1])

    def forward_from_sums(self, sums: Array) -> Array:
        """(rows, units) -> (rows, outputs): all steps after the first. Overwrites its argument."""
        return self._run_in_blocks(sums, self._steps[1:])

    def with_output_layer(self, layers: Sequence[Layer]) -> "InferenceNetwork":
        """A network that differs only in its output layer, and shares the arrays of all other layers."""
        other = InferenceNetwork(layers)
        hidden, _ = split_output_layer(self.layers)
        if any(isinstance(layer, Dense | SharedDense) for layer in hidden):  # the output layer is a separate step
            other._steps = [*self._steps[:-1], other._steps[-1]]
        return other

    def _run_in_blocks(self, x: Array, steps: Sequence[Step]) -> Array:
        if len(x) <= self._rows:
            return run_steps(x, steps)
        return np.concatenate([run_steps(x[i : i + self._rows], steps) for i in range(0, len(x), self._rows)])


def run_steps(x: Array, steps: Sequence[Step]) -> Array:
    for step in steps:
        x = step(x)
    return x


def member_count(layers: Sequence[Layer]) -> int:
    return max([len(layer.r) for layer in layers if isinstance(layer, Members | SharedDense)] or [1])


def make_steps(layers: Sequence[Layer]) -> list[Step]:
    steps: list[Step] = []
    rest = list(layers)

    def next_if(kind: type[L]) -> L | None:
        return rest.pop(0) if rest and isinstance(rest[0], kind) else None  # type: ignore[return-value]

    one_row_each = True  # false after each member has its own row
    while rest:
        if one_row_each and isinstance(rest[0], Tabular | Embedding | Periodic | Members | SharedDense | Dense):
            embedding, periodic = next_if(Tabular) or next_if(Embedding), next_if(Periodic)
            dense = next_if(SharedDense) or next_if(Dense)
            steps.extend(input_steps(embedding, periodic, dense))
            one_row_each = not isinstance(dense, SharedDense)
            if one_row_each and (members := next_if(Members)) is not None:
                steps.append(members_step(members))
                one_row_each = False
        elif (shared := next_if(SharedDense)) is not None:
            steps.append(shared_dense_step(shared))
        elif (member_dense := next_if(MemberDense)) is not None:
            steps.append(member_dense_step(member_dense, next_if(MemberMean)))
        elif (plain := next_if(Dense)) is not None:
            steps.append(dense_step(plain.W, plain.b))
        elif (graph := next_if(Branches)) is not None:
            steps.append(branches_step(graph))
        elif (columns := next_if(Take)) is not None:
            steps.append(take_step(columns.columns))
        else:
            if not steps:
                steps.append(np.copy)  # the next step writes in place, and the array belongs to the caller
            steps.append(in_place_step(rest.pop(0)))
    return steps or [np.copy]


def branches_step(layer: Branches) -> Step:
    """The step of a graph of layers. The first step of each branch copies its input, so that no branch overwrites the
    input of another."""
    branches = [(branch, make_steps(fold(branch.layers)) if branch.layers else []) for branch in layer.branches]

    def forward(x: Array) -> Array:
        values = [x]
        for branch, steps in branches:
            values.append(run_steps(join_values(branch, values), steps))
        return values[-1] if values[-1] is not x else x.copy()

    return forward


def input_steps(
    embedding: Tabular | Embedding | None, periodic: Periodic | None, dense: Dense | SharedDense | None
) -> Iterator[Step]:
    """The steps of the layers at the input, each of which may be absent. With a dense layer, they form one step."""
    lookup = None if embedding is None else EmbeddingLookup(embedding)
    features = None if periodic is None else PeriodicFeatures(periodic)
    if dense is None:
        yield from filter(None, (lookup, features))
    elif isinstance(dense, Dense):
        yield InputBlock(lookup, features, dense.W, dense.b) if lookup or features else dense_step(dense.W, dense.b)
    else:
        W, r, s, b = dense.parameters.values()
        k, units = b.shape
        member_W = r[:, :, np.newaxis] * W * s[:, np.newaxis]  # (members, inputs, units)
        yield InputBlock(lookup, features, member_W.swapaxes(0, 1).reshape(-1, k * units), b.reshape(-1))
        yield lambda x: x.reshape(-1, units)  # (rows, members · units) -> (rows · members, units)
