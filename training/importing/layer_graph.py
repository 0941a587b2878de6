"""A Keras model as a flat graph of layer calls, read from its configuration, without nested models."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.text import layer_title
from training.errors import UsageError

MAX_CALLS = 2000


class Value(NamedTuple):
    """A tensor: an output of a call or, with a negative number -1 - i, the i-th input of the model."""

    call: int
    output: int = 0


class ModelInput(NamedTuple):
    """An input of the model. shape: without the batch axis."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def width(self) -> int:
        """The number of columns of the input. Raises UsageError if its shape is not one list of columns."""
        if len(self.shape) > 1 or None in self.shape:
            wanted = " by ".join("any" if size is None else str(size) for size in self.shape)
            raise UsageError(
                f"input {self.name!r} takes {wanted} values for a row, as sequences and images have; "
                "a row of a table is one list of values"
            )
        return int(self.shape[0] or 0) if self.shape else 1


@dataclass(frozen=True)
class Call:
    """A call of a layer. args, kwargs: nested lists, tuples and dictionaries with `Value`s in them."""

    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def title(self) -> str:
        return layer_title(self.layer)

    @property
    def values(self) -> list[Value]:
        return list(values_in((self.args, self.kwargs)))


@dataclass
class LayerGraph:
    """The calls of a model's layers in topological order."""

    inputs: list[ModelInput]
    calls: list[Call] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)

    def users(self, value: Value) -> list[int]:
        """The indices of the calls that use a value."""
        return [number for number, call in enumerate(self.calls) if value in call.values]


def values_in(structure: Any) -> Iterator[Value]:
    if isinstance(structure, Value):
        yield structure
    elif isinstance(structure, dict):
        for key in sorted(structure):  # the order in which Keras flattens dictionaries
            yield from values_in(structure[key])
    elif isinstance(structure, list | tuple):
        for part in structure:
            yield from values_in(part)


def map_values(function: Callable[[Value], Any], structure: Any) -> Any:
    if isinstance(structure, Value):
        return function(structure)
    if isinstance(structure, dict):
        return {key: map_values(function, part) for key, part in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)([map_values(function, part) for part in structure])
    return structure


def read_graph(model: Any) -> LayerGraph:
    """The graph of a Sequential or functional model. Raises UsageError."""
    if not model.built or not model.inputs:
        raise UsageError("the model does not declare its inputs: begin it with keras.Input, and save it again")
    graph = LayerGraph([_input_of(tensor) for tensor in model.inputs])
    found = _add_model(graph, model, [Value(-1 - number) for number in range(len(graph.inputs))])
    graph.outputs = dict(zip(_output_names(model, len(found)), found, strict=True))
    for call in graph.calls:
        _check_call(call)
    return graph


def _input_of(tensor: Any) -> ModelInput:
    return ModelInput(tensor.name, tuple(tensor.shape[1:]), str(tensor.dtype))


def _output_names(model: Any, count: int) -> list[str]:
    """Return the keys if the outputs are a dictionary, else the names of the layers that compute the outputs."""
    structure = model.get_config().get("output_layers")
    if isinstance(structure, dict):
        return sorted(structure)
    names = [model.layers[-1].name] if structure is None else [name for name, _, _ in _tensor_names(structure)]
    return names if len(set(names)) == count else [f"output {number}" for number in range(count)]


def _add_model(graph: LayerGraph, model: Any, inputs: list[Value]) -> list[Value]:
    """Add the calls of a model. Returns its outputs. inputs: the values of its inputs, in order."""
    import keras

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            inputs = _add_call(graph, layer, (inputs[0],), {})
        return inputs
    return _FunctionalReader(graph, model, inputs).read()


def _add_call(graph: LayerGraph, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Value]:
    """Add a call of a layer, or the calls of a nested model. Returns the outputs."""
    import keras

    if isinstance(layer, keras.Model):
        if kwargs.get("training"):
            raise UsageError(f"{layer_title(layer)} is called with training=True: its predictions would be random")
        return _add_model(graph, layer, list(values_in((args, kwargs))))
    if len(graph.calls) >= MAX_CALLS:
        raise UsageError(f"the model has more than {MAX_CALLS} layers")
    graph.calls.append(Call(layer, args, kwargs))
    return [Value(len(graph.calls) - 1)]


class _FunctionalReader:
    """Reads the calls of a functional model from its configuration, which names tensors by layer, call and output."""

    def __init__(self, graph: LayerGraph, model: Any, inputs: list[Value]) -> None:
        self._graph, self._model, self._config = graph, model, model.get_config()
        self._known: dict[tuple[str, int, int], Value] = {}
        for tensor, value in zip(_tensor_names(self._config["input_layers"]), inputs, strict=True):
            self._known[tensor] = value

    def read(self) -> list[Value]:
        waiting = [
            (entry["name"], number, node)
            for entry in self._config["layers"]
            for number, node in enumerate(entry["inbound_nodes"])
        ]
        while waiting:
            later = [entry for entry in waiting if not self._add(*entry)]
            if len(later) == len(waiting):
                raise UsageError(f"the model is damaged: layer {later[0][0]!r} has an input that no layer computes")
            waiting = later
        return [self._known[tensor] for tensor in _tensor_names(self._config["output_layers"])]

    def _add(self, name: str, number: int, node: dict[str, Any]) -> bool:
        """Add a call if all its inputs are known."""
        try:
            args = _resolved(node["args"], self._known)
            kwargs = {key: _resolved(part, self._known) for key, part in node["kwargs"].items()}
        except KeyError:
            return False
        layer = _operation(self._model, name)
        outputs = _add_call(self._graph, layer, tuple(args), kwargs)
        for output, value in enumerate(outputs):
            self._known[name, number, output] = value
        return True


def _operation(model: Any, name: str) -> Any:
    return next(operation for operation in model.operations if operation.name == name)


def _tensor_names(structure: Any) -> list[tuple[str, int, int]]:
    """The tensors of `input_layers` or `output_layers`, in order."""
    if isinstance(structure, dict):
        return [name for key in sorted(structure) for name in _tensor_names(structure[key])]
    if len(structure) == 3 and isinstance(structure[0], str):
        return [(structure[0], int(structure[1]), int(structure[2]))]
    return [name for part in structure for name in _tensor_names(part)]


def _resolved(structure: Any, known: dict[tuple[str, int, int], Value]) -> Any:
    """Arguments of a call with `Value`s in place of Keras's tensors. Raises KeyError for an unknown tensor."""
    if isinstance(structure, dict):
        if structure.get("class_name") == "__keras_tensor__":
            name, node, tensor = structure["config"]["keras_history"]
            return known[name, node, tensor]
        return {key: _resolved(part, known) for key, part in structure.items()}
    if isinstance(structure, list | tuple):
        return [_resolved(part, known) for part in structure]
    return structure


def _check_call(call: Call) -> None:
    if call.kwargs.get("training"):
        raise UsageError(f"{call.title} is called with training=True: its predictions would be random")
    if not call.values:
        raise UsageError(f"{call.title} does not depend on the row")
