"""Determines the form of a model's outputs (logits, probabilities, value) from the last layer, the option and the
target."""

from dataclasses import dataclass
from typing import Any, Literal

from models.text import counted
from training.column_options import list_names
from training.errors import UsageError
from training.importing.import_options import OutputForm
from training.importing.layer_graph import LayerGraph, Value

Link = Literal["softmax", "sigmoid", "other"]


@dataclass(frozen=True)
class ModelOutput:
    """The output that predicts the target. link: its activation; layer: the title of the last layer, for messages."""

    name: str
    value: Value
    link: Link
    layer: str


def choose_output(graph: LayerGraph, target: str, head: str | None) -> ModelOutput:
    """The only output, the one with the requested name, or the one with the name of the target. Raises UsageError."""
    names = list(graph.outputs)
    if head is not None and head not in names:
        raise UsageError(f"--head {head!r}: the model has the outputs {list_names(names)}")
    name = head or (names[0] if len(names) == 1 else target)
    if name not in names:
        raise UsageError(
            f"the model has {len(names)} outputs, {list_names(names)}, and none has the name of the target {target!r}: "
            "use --head NAME"
        )
    value = graph.outputs[name]
    if value.call < 0:
        raise UsageError(f"the output {name!r} of the model is one of its inputs")
    call = graph.calls[value.call]
    return ModelOutput(name, value, link_of(call.layer), call.title)


def link_of(layer: Any) -> Link:
    import keras

    if isinstance(layer, keras.layers.Softmax):
        return "softmax" if layer.axis in (-1, 1) else "other"
    if type(layer) in (keras.layers.Dense, keras.layers.Activation):
        if layer.activation is keras.activations.softmax:
            return "softmax"
        if layer.activation is keras.activations.sigmoid:
            return "sigmoid"
    return "other"


def declared_form(output: ModelOutput, width: int, requested: OutputForm | None) -> OutputForm | None:
    """The form that the option and the last layer declare; None if the target determines it. Raises UsageError."""
    if requested == "logits" and output.link != "other":
        raise UsageError(f"{output.layer} ends with {output.link}: its outputs are probabilities, not logits")
    if requested == "value" and width > 1:
        raise UsageError(f"{output.layer} has {width} outputs, but a value is one output")
    if output.link == "sigmoid" and width > 1:
        raise UsageError(
            f"{output.layer} has {width} outputs with a sigmoid each: labels that do not exclude each other are not "
            "served; classes need a softmax"
        )
    if requested is not None:
        return requested
    if output.link != "other":
        return "probabilities"
    return "logits" if width > 1 else None


def check_width(output: ModelOutput, width: int, form: OutputForm, classes: list[Any] | None, target: str) -> None:
    """Raises UsageError if the number of outputs does not fit the target."""
    if form == "value":
        return
    count = len(classes or ())
    if width == count or (width == 1 and count == 2 and output.link != "softmax"):
        return
    hint = "; for a number use --output value" if width == 1 else ""
    outputs, different = counted(width, "output"), counted(count, "class", "classes")
    raise UsageError(
        f"{output.layer} has {outputs}, and the target {target!r} has {different} in the sample: "
        f"{list_names([str(label) for label in classes or ()])}{hint}"
    )
