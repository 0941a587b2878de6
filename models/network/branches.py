"""A layer that is a graph of layers: branches over the same rows, whose results are added, concatenated and so on.

Imported networks contain such graphs, for example residual connections or several inputs.
"""

from __future__ import annotations  # without it, np.random.Generator would load numpy.random, 2.7 MB per worker

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Self

import numpy as np

from models.network.activations import Array
from models.network.layers import Layer
from models.network.plain_layers import PLAIN_LAYERS
from models.text import counted

Join = Callable[[Sequence[Array]], Array]


def _reduce_with(function: Callable[[Array, Array], Array]) -> Join:
    return lambda values: reduce(function, values)


JOINS: dict[str, Join] = {
    "concatenate": lambda values: np.concatenate(values, axis=1),
    "add": _reduce_with(np.add),
    "subtract": _reduce_with(np.subtract),
    "multiply": _reduce_with(np.multiply),
    "maximum": _reduce_with(np.maximum),
    "minimum": _reduce_with(np.minimum),
    "average": lambda values: reduce(np.add, values) / np.float32(len(values)),
}
"""Functions that join several matrices of the same rows into one."""


@dataclass(frozen=True)
class Branch:
    """A branch of a graph: earlier values are joined, and layers follow. Value 0 is the graph's input, value i the i-th
    branch.

    join: a name in JOINS, or "" for a single value.
    """

    values: tuple[int, ...]
    join: str = ""
    layers: tuple[Layer, ...] = field(default=())


class Branches(Layer):
    """A graph of layers: x (batch, inputs) -> the value of the last branch. It cannot be trained."""

    kind = "branches"

    def __init__(self, inputs: int, branches: Sequence[Branch]) -> None:
        for number, branch in enumerate(branches):
            if not branch.values or not all(0 <= value <= number for value in branch.values):
                raise ValueError(f"branch {number} has the values {branch.values}, expected earlier values")
            if (len(branch.values) > 1) != bool(branch.join) or (branch.join and branch.join not in JOINS):
                values = counted(len(branch.values), "value")
                raise ValueError(f"branch {number}: {branch.join!r} does not join {values}")
        if not branches:
            raise ValueError("expected at least one branch")
        self.inputs, self.branches = inputs, tuple(branches)
        super().__init__(
            state={
                f"{number}_{position}_{name}": array
                for number, branch in enumerate(self.branches)
                for position, layer in enumerate(branch.layers)
                for name, array in {**layer.parameters, **layer.state}.items()
            }
        )

    @classmethod
    def from_options(cls, inputs: int, branches: Sequence[dict[str, Any]], **arrays: Array) -> Self:
        """The layer with these `options` and arrays. Raises ValueError."""
        made = []
        for number, branch in enumerate(branches):
            layers = []
            for position, entry in enumerate(branch["layers"]):
                if entry["layer"] not in PLAIN_LAYERS:
                    raise ValueError(f"branch {number}: the layer {entry['layer']!r} is unknown")
                own = {name: arrays[f"{number}_{position}_{name}"] for name in entry.get("arrays", ())}
                options = {key: value for key, value in entry.items() if key not in ("layer", "arrays")}
                layers.append(PLAIN_LAYERS[entry["layer"]](**own, **options))
            made.append(Branch(tuple(branch["values"]), branch["join"], tuple(layers)))
        return cls(inputs, made)

    def options(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs,
            "branches": [
                {
                    "values": list(branch.values),
                    "join": branch.join,
                    "layers": [
                        {
                            "layer": layer.kind,
                            **layer.options(),
                            "arrays": [*layer.parameters, *layer.state],
                        }
                        for layer in branch.layers
                    ],
                }
                for branch in self.branches
            ],
        }

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        if training:
            raise ValueError("a graph of layers is not trained by this network")
        values = [x]
        for branch in self.branches:
            value = join_values(branch, values)
            for layer in branch.layers:
                value = layer.forward(value)
            values.append(value)
        return values[-1]

    def backward(self, d_y: Array) -> Array:
        raise ValueError("a graph of layers is not trained by this network")


def join_values(branch: Branch, values: Sequence[Array]) -> Array:
    """The joined values of a branch, the input of its layers."""
    if not branch.join:
        return values[branch.values[0]]
    return JOINS[branch.join]([values[value] for value in branch.values])
