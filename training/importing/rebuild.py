"""Rebuilds an imported model as a functional Keras model whose input is one matrix, the encoded rows.

Lookups are replaced by tables, nested models by their layers, and the last layers are changed so that the outputs are
logits or standardised values, as those of all models of this project.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from models.encoding.target_scaling import TargetScaling
from models.keras_nets import ColumnSlice, LogProbabilities
from models.text import truncate
from training.errors import UsageError
from training.importing.encoded_columns import Array, CodedColumn, InputParts, MatrixColumns
from training.importing.import_options import OutputForm
from training.importing.layer_graph import Call, LayerGraph, Value, map_values
from training.importing.model_file import LOOKUPS
from training.importing.output_form import ModelOutput


@dataclass(frozen=True)
class RebuiltModel:
    """A rebuilt model. graph: its calls; its only input is the matrix. tensors: the Keras tensor of each value."""

    model: Any
    graph: LayerGraph
    tensors: dict[Value, Any]


@dataclass(frozen=True)
class ModelEnd:
    """The end of the rebuilt model. form: the form of the original outputs. scaling: the scaling of a regression
    target."""

    output: ModelOutput
    form: OutputForm
    scaling: TargetScaling


def rebuild(
    graph: LayerGraph,
    width: int,
    parts: dict[str, InputParts],
    tables: Callable[[Call], CodedColumn],
    end: ModelEnd,
) -> RebuiltModel:
    """Rebuild a model. width: the width of the matrix. parts: the parts of the matrix for each input. tables: returns
    the table of a lookup. Raises UsageError."""
    builder = _Builder(graph, width, parts, tables)
    try:
        value = builder.end_with(end)
        model = keras.Model(builder.matrix, builder.tensors[value])
    except UsageError:
        raise
    except Exception as error:  # Keras may raise any exception for layers that do not fit together
        reason = " ".join(str(error).split())
        raise UsageError(f"{builder.at} cannot be built on the columns of a row: {truncate(reason, 300)}") from error
    builder.made.outputs = {end.output.name: value}
    return RebuiltModel(model, builder.made, builder.tensors)


class _Builder:
    def __init__(
        self, graph: LayerGraph, width: int, parts: dict[str, InputParts], tables: Callable[[Call], CodedColumn]
    ) -> None:
        self.matrix = keras.Input((width,), name="matrix")
        self.made = LayerGraph([])
        self.at = "the model"
        self.tensors: dict[Value, Any] = {Value(-1): self.matrix}
        self._graph, self._parts, self._tables = graph, parts, tables
        self._known: dict[Value, Value] = {}  # values of the original graph -> values of the rebuilt graph
        self._clones: dict[int, Any] = {}
        self._number = 0

    def value(self, original: Value) -> Value:
        """Return the rebuilt value of an original value, after adding all calls that it needs."""
        needed = [original]
        while needed:
            current = needed[-1]
            if current in self._known:
                needed.pop()
            elif current.call < 0:
                self._known[current] = self._input(-1 - current.call)
            elif missing := [value for value in self._values_of(current) if value not in self._known]:
                needed += missing
            else:
                self._known[current] = self._call_copy(self._graph.calls[current.call], current)
        return self._known[original]

    def _values_of(self, value: Value) -> list[Value]:
        call = self._graph.calls[value.call]
        return [] if type(call.layer).__name__ in LOOKUPS else call.values

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Value:
        """Call a layer of the rebuilt model with its values."""
        taken = map_values(self.tensors.__getitem__, (args, kwargs))
        tensor = layer(*taken[0], **taken[1])
        self.made.calls.append(Call(layer, args, kwargs))
        value = Value(len(self.made.calls) - 1)
        self.tensors[value] = tensor
        return value

    def _input(self, number: int) -> Value:
        model_input = self._graph.inputs[number]
        pieces = [piece for part in self._parts[model_input.name] for piece in self._part(part)]
        value = (
            pieces[0] if len(pieces) == 1 else self.call(keras.layers.Concatenate(name=self._name("inputs")), pieces)
        )
        return value if model_input.shape else self.call(keras.layers.Reshape((), name=self._name("scalar")), value)

    def _part(self, part: MatrixColumns | CodedColumn) -> list[Value]:
        if isinstance(part, CodedColumn):
            return [self._look_up_rows(part, 1)]
        return [self._slice(start, stop) for start, stop in _runs(part.places)]

    def _slice(self, start: int, stop: int) -> Value:
        return self.call(ColumnSlice(start, stop, name=self._name("columns")), Value(-1))

    def _look_up_rows(self, coded: CodedColumn, rank: int) -> Value:
        """The row of a table for each code: (batch, columns), or (batch,) for rank 0."""
        rows, columns = coded.table.shape
        table = keras.layers.Embedding(rows, columns, name=self._name("table"), trainable=False)
        value = self.call(table, self._slice(coded.place, coded.place + 1))
        table.set_weights([coded.table])
        return self.call(keras.layers.Reshape((columns,) if rank else (), name=self._name("row")), value)

    def _call_copy(self, call: Call, value: Value) -> Value:
        """Call a copy of the layer."""
        self.at = call.title
        if value.output:
            raise UsageError(f"{call.title} has several outputs; only one is supported")
        if type(call.layer).__name__ in LOOKUPS:
            (taken,) = call.values
            shaped = bool(self._graph.inputs[-1 - taken.call].shape) or call.layer.output_mode != "int"
            return self._look_up_rows(self._tables(call), int(shaped))
        args, kwargs = map_values(self._known.__getitem__, (call.args, call.kwargs))
        if not isinstance(call.layer, keras.layers.Layer):
            return self._operation(call, args, kwargs)
        return self._call_clone(call.layer, args, kwargs)

    def _operation(self, call: Call, args: Any, kwargs: Any) -> Value:
        """Replace an operation such as x + y by the layer that computes it."""
        values = list(args[0]) if len(args) == 1 and isinstance(args[0], list | tuple) else list(args)
        name = type(call.layer).__name__
        axis = getattr(call.layer, "axis", -1)
        if kwargs or len(values) < 2 or not all(isinstance(value, Value) for value in values):
            raise UsageError(f"the operation {call.layer.name!r} ({name}) is supported for values of the row only")
        layer = getattr(keras.layers, name)
        options = {"axis": axis} if name == "Concatenate" else {}
        return self.call(layer(name=self._name(name.lower()), **options), values)

    def _call_clone(self, layer: Any, args: Any, kwargs: Any) -> Value:
        """Call a copy of a layer with its weights; all calls use the same copy."""
        if id(layer) in self._clones:
            return self.call(self._clones[id(layer)], *args, **kwargs)
        copy = type(layer).from_config(layer.get_config() | {"name": self._name(layer.name)})
        self._clones[id(layer)] = copy
        value = self.call(copy, *args, **kwargs)
        copy.set_weights(layer.get_weights())
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()
        return value

    def _name(self, name: str) -> str:
        self._number += 1
        return f"{name}_{self._number}"

    def end_with(self, end: ModelEnd) -> Value:
        """Add the last layers. Returns the output of the rebuilt model."""
        call = self._graph.calls[end.output.value.call]
        last = call.layer
        is_dense = type(last) is keras.layers.Dense and len(call.values) == 1
        if end.form == "value":
            return self._standardise_output(end, call, is_dense)
        if end.form == "logits":
            return self.value(end.output.value)
        if end.output.link == "other":
            return self.call(LogProbabilities(name="log_probabilities"), self.value(end.output.value))
        (taken,) = call.values
        if not is_dense:  # an activation layer: its input is the logits
            return self.value(taken)
        return self._dense(self.value(taken), *_dense_weights(last))

    def _standardise_output(self, end: ModelEnd, call: Call, is_dense: bool) -> Value:
        """(value - mean) / scale, in the last dense layer if there is one."""
        mean, scale = end.scaling.mean, end.scaling.scale
        if is_dense and call.layer.activation is keras.activations.linear and self._is_plain(call.layer):
            W, b = (array.astype(np.float64) for array in _dense_weights(call.layer))
            return self._dense(self.value(call.values[0]), W / scale, (b - mean) / scale)
        return self._dense(self.value(end.output.value), np.full((1, 1), 1 / scale), np.full(1, -mean / scale))

    def _is_plain(self, layer: Any) -> bool:
        return layer.quantization_mode is None and layer.compute_dtype == "float32"

    def _dense(self, value: Value, W: Array, b: Array) -> Value:
        layer = keras.layers.Dense(W.shape[1], name=self._name("outputs"))
        made = self.call(layer, value)
        layer.set_weights([W.astype(np.float32), b.astype(np.float32)])
        return made


def _dense_weights(layer: Any) -> tuple[Array, Array]:
    W = np.array(layer.kernel.numpy())
    return W, np.zeros(W.shape[1], W.dtype) if layer.bias is None else np.array(layer.bias.numpy())


def _runs(places: tuple[int, ...]) -> list[tuple[int, int]]:
    """Group consecutive places into ranges, in their order."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs
