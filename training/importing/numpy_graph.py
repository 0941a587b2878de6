"""Converts a rebuilt model to a NumPy network: a chain of layers, or branches that are joined and then a chain."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from models.keras_export import CannotExport, translate_layer
from models.keras_nets import ColumnSlice
from models.network.branches import Branch, Branches
from models.network.layers import Layer
from models.network.network import Network
from models.network.tabular_layers import Embedding, Take
from models.text import layer_title
from training.importing.encoded_columns import MAX_TABLE_NUMBERS
from training.importing.layer_graph import Call, Value
from training.importing.rebuild import RebuiltModel

JOINS = {
    keras.layers.Concatenate: "concatenate",
    keras.layers.Add: "add",
    keras.layers.Subtract: "subtract",
    keras.layers.Multiply: "multiply",
    keras.layers.Average: "average",
    keras.layers.Maximum: "maximum",
    keras.layers.Minimum: "minimum",
}
INACTIVE_LAYERS = (
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout1D,
    keras.layers.ActivityRegularization,
)
"""Layers that have no effect outside of training."""


def to_network(rebuilt: RebuiltModel) -> Network:
    """A NumPy network with the same outputs. Raises CannotExport, which names a layer that has no counterpart."""
    width = int(rebuilt.model.inputs[0].shape[1])
    translation = _Translation(width, rebuilt.tensors)
    for number, call in enumerate(rebuilt.graph.calls):
        translation.add(Value(number), call)
    (end,) = rebuilt.graph.outputs.values()
    network = Network(_as_layers(width, merge_branches(translation.branches, translation.numbers[end])))
    if not network.weights():
        raise CannotExport("the model has no weights")
    return network


class _Translation:
    """Translates calls to branches. Every value is a matrix: (batch, 1, units) of an embedding is (batch, units)."""

    def __init__(self, width: int, tensors: dict[Value, Any]) -> None:
        self.branches: list[Branch] = []
        self.numbers = {Value(-1): 0}  # the branch of each value
        self._width, self._tensors = width, tensors

    def add(self, value: Value, call: Call) -> None:
        layer = call.layer
        if call.kwargs:
            raise CannotExport(f"{layer_title(layer)}: is called with options")
        source = [self.numbers[each] for each in call.values]
        if type(layer) in JOINS:
            self.numbers[value] = self._join(call, source)
            return
        if len(source) != 1:
            raise CannotExport(f"{layer_title(layer)}: joins several branches in a way that has no counterpart")
        if type(layer) in (keras.layers.Embedding, keras.layers.CategoryEncoding):
            self.numbers[value] = self._look_up(layer, self._tensors[call.values[0]].shape[1:], source[0])
            return
        made = self._layers(layer, self._tensors[call.values[0]])
        self.numbers[value] = self._branch(Branch((source[0],), "", tuple(made))) if made else source[0]

    def _branch(self, branch: Branch) -> int:
        self.branches.append(branch)
        return len(self.branches)

    def _join(self, call: Call, source: list[int]) -> int:
        layer = call.layer
        for each in call.values:
            _check_matrix(layer, self._tensors[each])
        if type(layer) is keras.layers.Concatenate and layer.axis not in (-1, 1):
            raise CannotExport(f"{layer_title(layer)}: works along axis {layer.axis}, expected the last one")
        return self._branch(Branch(tuple(source), JOINS[type(layer)]))

    def _look_up(self, layer: Any, shape: tuple[int | None, ...], source: int) -> int:
        """Add a table for each column; the rows of several columns' tables are concatenated."""
        if type(layer) is keras.layers.Embedding:
            if layer.mask_zero or layer.quantization_mode or layer.compute_dtype != "float32":
                raise CannotExport(f"{layer_title(layer)}: expected a plain table of float32")
            table = np.array(layer.embeddings.numpy())
        else:
            if layer.output_mode == "count" or layer.sparse:
                raise CannotExport(f"{layer_title(layer)}: output mode {layer.output_mode}")
            if layer.num_tokens**2 > MAX_TABLE_NUMBERS:
                raise CannotExport(f"{layer_title(layer)}: makes {layer.num_tokens} columns")
            table = np.eye(layer.num_tokens, dtype=np.float32)
        if len(shape) > 1 or (type(layer) is keras.layers.CategoryEncoding and shape not in ((), (1,))):
            raise CannotExport(f"{layer_title(layer)}: takes {shape}, expected one column or a matrix of level numbers")
        columns = int(shape[0] or 0) if shape else 1
        if columns == 1:
            return self._branch(Branch((source,), "", (Embedding(table),)))
        parts = [self._branch(Branch((source,), "", (Take([j]), Embedding(table)))) for j in range(columns)]
        return self._branch(Branch(tuple(parts), "concatenate"))

    def _layers(self, layer: Any, source: Any) -> list[Layer]:
        if type(layer) is ColumnSlice:
            whole = (layer.start, layer.stop) == (0, self._width)
            return [] if whole else [Take(range(layer.start, layer.stop))]
        if type(layer) in INACTIVE_LAYERS:
            return []
        if type(layer) in (keras.layers.Flatten, keras.layers.Reshape):
            return []  # the values of a row keep their order
        _check_matrix(layer, source)
        try:
            return list(translate_layer(layer))
        except AttributeError as error:  # a layer that is called twice has no attribute `input`
            raise CannotExport(f"{layer_title(layer)}: is called twice") from error


def _check_matrix(layer: Any, tensor: Any) -> None:
    if len(tensor.shape) != 2 or tensor.shape[1] is None:
        raise CannotExport(f"{layer_title(layer)}: takes {tensor.shape[1:]}, expected a matrix")


def merge_branches(branches: list[Branch], end: int) -> list[Branch]:
    """Keep the branches that the value `end` needs, and merge each chain of branches into one branch."""
    users = [0] * (len(branches) + 1)
    needed = {end}
    for number in range(end, 0, -1):
        if number in needed:
            needed.update(branches[number - 1].values)
            for value in branches[number - 1].values:
                users[value] += 1
    kept: list[Branch] = []
    places = {0: 0}
    for number in range(1, end + 1):
        if number not in needed:
            continue
        branch = branches[number - 1]
        values = tuple(places[value] for value in branch.values)
        alone = not branch.join and branch.values[0] > 0 and users[branch.values[0]] == 1
        if alone:
            before = kept[values[0] - 1]
            kept[values[0] - 1] = replace(before, layers=before.layers + branch.layers)
            places[number] = values[0]
        else:
            kept.append(replace(branch, values=values))
            places[number] = len(kept)
    return _move_to_end(kept, places[end])


def _move_to_end(branches: list[Branch], end: int) -> list[Branch]:
    """Move branch `end`, whose value no other branch uses, to the end of the list."""
    if end == len(branches):
        return branches
    order = [number for number in range(1, len(branches) + 1) if number != end] + [end]
    place = {0: 0} | {number: index for index, number in enumerate(order, start=1)}
    return [
        replace(branches[number - 1], values=tuple(place[value] for value in branches[number - 1].values))
        for number in order
    ]


def _as_layers(width: int, branches: list[Branch]) -> list[Layer]:
    """The layers of the network: a chain of layers or, with branches, a layer of branches and the last chain."""
    if len(branches) == 1 and not branches[0].join and not isinstance(branches[0].layers[0], Take):
        return list(branches[0].layers)
    *others, last = branches
    if last.join:
        return [Branches(width, [*others, replace(last, layers=())]), *last.layers]
    return [Branches(width, branches)]
