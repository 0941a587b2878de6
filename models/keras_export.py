"""Exports a trained Keras model to a NumPy network with the same outputs, or raises an error that gives the reason.

Sequential models can be exported, and functional models whose layers form a chain. Before the chain there may be a head
that selects columns of one matrix, embeds categories and concatenates the results (as in `keras_nets.build`).
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from models.keras_nets import ColumnSlice, MemberDense, MemberMean, Members, Periodic, SharedDense
from models.network import activations, ensemble_layers, layers, normalization_layers, tabular_layers
from models.network.activations import Array
from models.network.layers import Layer
from models.network.network import Network
from models.text import counted, layer_title

TRIAL_ROWS = 16
TOLERANCE = 1e-4


class CannotExport(ValueError):  # noqa: N818 - the name describes the error
    """A part of the model has no counterpart in the NumPy network, so TensorFlow must run it. The message names the
    part."""


def export(model: keras.Model) -> Network:
    """The network with the same outputs as `model`. Raises CannotExport with the unsupported layer and the reason."""
    network = Network([layer for part in _parts(model) for layer in part])
    if not network.weights():
        raise CannotExport(f"{layer_title(model)}: has no weights")
    _compare(network, model)
    return network


def _parts(model: keras.Model) -> Iterator[Iterator[Layer]]:
    """The layers of the network, in order."""
    if not model.built or len(model.inputs or ()) != 1 or len(model.outputs or ()) != 1:
        raise CannotExport(
            f"{layer_title(model)}: expected a built Sequential or functional model with one input and one output"
        )
    if len(model.inputs[0].shape) != 2:
        raise CannotExport(f"{layer_title(model)}: expected an input (batch, columns), given {model.inputs[0].shape}")
    if type(model) is keras.Sequential and not any(type(layer) in _HEAD for layer in model.layers):
        chain, head = list(model.layers), None
    else:
        chain, head = _follow_chain(model)
    if head is not None:
        yield iter([head])
    for layer in chain:
        yield translate_layer(layer)


def _follow_chain(model: keras.Model) -> tuple[list[keras.layers.Layer], Layer | None]:
    """Follow the layers from the output to the input. Returns the layers of the chain in order, and the translated
    head, if any."""
    producers = {id(layer.output): layer for layer in model.layers}
    chain: list[keras.layers.Layer] = []
    tensor = model.outputs[0]
    while tensor is not model.inputs[0]:
        layer = _producer(producers, tensor)
        if type(layer) in _HEAD and not _is_flat(layer):
            return chain[::-1], _head(layer, tensor, producers, columns=model.inputs[0].shape[1])
        chain.append(layer)
        tensor = layer.input
        if isinstance(tensor, list | tuple | dict):
            raise CannotExport(f"{layer_title(layer)}: joins several branches, but only Concatenate is supported")
    return chain[::-1], None


def _head(layer: keras.layers.Layer, tensor: Any, producers: dict[int, Any], columns: int) -> Layer:
    """Translate ColumnSlice(0, n), then ColumnSlice -> Embedding -> Flatten or Reshape for each further column, to a
    Tabular."""
    parts = list(layer.input) if type(layer) is keras.layers.Concatenate else [tensor]
    numbers, tables = 0, list[Array]()
    for part in parts:
        made = _producer(producers, part)
        if type(made) is ColumnSlice and not tables and not numbers and made.start == 0:
            numbers = made.stop
            continue
        tables.append(_table(made, numbers + len(tables), producers))
    if not tables or numbers + len(tables) != columns:
        raise CannotExport(f"{layer_title(layer)}: takes {counted(numbers + len(tables), 'column')} of {columns}")
    return tabular_layers.Tabular(numbers, **{f"table_{j}": table for j, table in enumerate(tables)})


def _table(flat: keras.layers.Layer, column: int, producers: dict[int, Any]) -> Array:
    """The embedding table of a column."""
    if type(flat) not in (keras.layers.Flatten, keras.layers.Reshape) or len(flat.output.shape) != 2:
        raise CannotExport(f"{layer_title(flat)}: expected ColumnSlice, or a Flatten or Reshape of an Embedding")
    embedding = _producer(producers, flat.input)
    if type(embedding) is not keras.layers.Embedding or embedding.mask_zero or embedding.quantization_mode:
        raise CannotExport(f"{layer_title(embedding)}: expected a plain Embedding before {layer_title(flat)}")
    taken = _producer(producers, embedding.input)
    if type(taken) is not ColumnSlice or (taken.start, taken.stop) != (column, column + 1):
        raise CannotExport(
            f"{layer_title(taken)}: expected ColumnSlice({column}, {column + 1}), numbers first, then in order"
        )
    _check_dtype(embedding)
    return _array(embedding.embeddings)


def _producer(producers: dict[int, Any], tensor: Any) -> keras.layers.Layer:
    if id(tensor) not in producers:
        raise CannotExport(f"{tensor.name!r} comes from a layer used twice, or from no layer")
    return producers[id(tensor)]


def translate_layer(layer: keras.layers.Layer) -> Iterator[Layer]:
    """The layers that compute the same as a Keras layer. Raises CannotExport."""
    translate = _TRANSLATIONS.get(type(layer))  # not for subclasses, which may compute something else
    if translate is None:
        raise CannotExport(f"{layer_title(layer)}: this kind of layer has no counterpart")
    _check_dtype(layer)
    yield from translate(layer)


def _dense(layer: Any) -> Iterator[Layer]:
    if layer.quantization_mode is not None:
        raise CannotExport(f"{layer_title(layer)}: quantised to {layer.quantization_mode}")
    W = _array(layer.kernel)
    yield layers.Dense(W, np.zeros(W.shape[1], W.dtype) if layer.bias is None else _array(layer.bias))
    yield from _activation(layer)


def _activation(layer: Any) -> Iterator[Layer]:
    function = layer.activation
    if isinstance(function, keras.layers.Layer):
        yield from translate_layer(function)
        return
    name = getattr(function, "__name__", repr(function))
    if name not in activations.FUNCTIONS or function is not keras.activations.get(name):
        raise CannotExport(
            f"{layer_title(layer)}: activation {name!r} is not one of {', '.join(activations.FUNCTIONS)}"
        )
    if name != "linear":
        yield layers.Activation(name)


def _relu(layer: Any) -> Iterator[Layer]:
    if layer.max_value is not None or layer.threshold != 0:
        raise CannotExport(f"{layer_title(layer)}: max_value or threshold is set")
    slope = float(layer.negative_slope)
    yield layers.Activation("leaky_relu", slope=slope) if slope else layers.Activation("relu")


def _leaky_relu(layer: Any) -> Iterator[Layer]:
    yield layers.Activation("leaky_relu", slope=float(layer.negative_slope))


def _elu(layer: Any) -> Iterator[Layer]:
    yield layers.Activation("elu", alpha=float(layer.alpha))


def _softmax(layer: Any) -> Iterator[Layer]:
    _check_axis(layer)
    yield layers.Activation("softmax")


def _dropout(layer: Any) -> Iterator[Layer]:
    yield layers.Dropout(float(layer.rate))


def _batch_normalization(layer: Any) -> Iterator[Layer]:
    _check_axis(layer)
    mean = _array(layer.moving_mean)
    yield normalization_layers.BatchNormalization(
        np.ones_like(mean) if layer.gamma is None else _array(layer.gamma),
        np.zeros_like(mean) if layer.beta is None else _array(layer.beta),
        mean,
        _array(layer.moving_variance),
        momentum=float(layer.momentum),
        epsilon=float(layer.epsilon),
    )


def _layer_normalization(layer: Any) -> Iterator[Layer]:
    _check_axis(layer)
    units = layer.input.shape[-1]
    yield normalization_layers.LayerNormalization(
        np.ones(units, np.float32) if layer.gamma is None else _array(layer.gamma),
        np.zeros(units, np.float32) if layer.beta is None else _array(layer.beta),
        epsilon=float(layer.epsilon),
    )


def _normalization(layer: Any) -> Iterator[Layer]:
    mean, variance = _array(layer.mean), _array(layer.variance)
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    zero = np.zeros_like(mean)
    yield _scale(layer, zero, deviation, mean) if layer.invert else _scale(layer, mean, 1 / deviation, zero)


def _rescaling(layer: Any) -> Iterator[Layer]:
    yield _scale(layer, 0.0, layer.scale, layer.offset)


def _periodic(layer: Any) -> Iterator[Layer]:
    yield tabular_layers.Periodic(_array(layer.w), _array(layer.phase), _array(layer.V), _array(layer.b))


def _members(layer: Any) -> Iterator[Layer]:
    yield ensemble_layers.Members(_array(layer.r))


def _shared_dense(layer: Any) -> Iterator[Layer]:
    yield ensemble_layers.SharedDense(_array(layer.W), _array(layer.r), _array(layer.s), _array(layer.b))


def _member_dense(layer: Any) -> Iterator[Layer]:
    yield ensemble_layers.MemberDense(_array(layer.W), _array(layer.b))


def _member_mean(layer: Any) -> Iterator[Layer]:
    yield ensemble_layers.MemberMean(layer.link)


def _flatten(layer: Any) -> Iterator[Layer]:
    if not _is_flat(layer):
        raise CannotExport(f"{layer_title(layer)}: flattens an input that is not a matrix")
    yield from ()


def _scale(layer: Any, *centre_scale_shift: Any) -> Layer:
    units = layer.input.shape[-1]
    arrays = (np.broadcast_to(np.asarray(a, np.float32).reshape(-1), (units,)).copy() for a in centre_scale_shift)
    return tabular_layers.Scale(*arrays)


_HEAD = (ColumnSlice, keras.layers.Embedding, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Concatenate)

_TRANSLATIONS: dict[type, Callable[[Any], Iterator[Layer]]] = {
    keras.layers.Dense: _dense,
    keras.layers.Activation: _activation,
    keras.layers.ReLU: _relu,
    keras.layers.LeakyReLU: _leaky_relu,
    keras.layers.ELU: _elu,
    keras.layers.Softmax: _softmax,
    keras.layers.Dropout: _dropout,
    keras.layers.BatchNormalization: _batch_normalization,
    keras.layers.LayerNormalization: _layer_normalization,
    keras.layers.Normalization: _normalization,
    keras.layers.Rescaling: _rescaling,
    keras.layers.Flatten: _flatten,
    Periodic: _periodic,
    Members: _members,
    SharedDense: _shared_dense,
    MemberDense: _member_dense,
    MemberMean: _member_mean,
}


def _compare(network: Network, model: keras.Model) -> None:
    """Compare both models on random rows, in case a translation is wrong. Raises CannotExport if they differ."""
    x = _trial_rows(network)
    ours, theirs = network.predict(x), _array(model(x, training=False))
    scale = np.maximum(np.abs(theirs), theirs.std())
    if ours.shape != theirs.shape or not (np.abs(ours - theirs) <= TOLERANCE * np.maximum(scale, 1e-6)).all():
        raise CannotExport(
            f"{layer_title(model)}: the outputs of the exported network differ on {TRIAL_ROWS} random rows"
        )


def _trial_rows(network: Network) -> Array:
    rng = np.random.default_rng(0)
    first = network.layers[0]
    x = rng.normal(size=(TRIAL_ROWS, network.inputs))
    if isinstance(first, tabular_layers.Tabular):
        for column, table in enumerate(first.tables, start=first.numbers):
            x[:, column] = rng.integers(0, len(table), TRIAL_ROWS)
    return x.astype(np.float32)


def _check_dtype(layer: keras.layers.Layer) -> None:
    if layer.compute_dtype != "float32":
        raise CannotExport(f"{layer_title(layer)}: computes in {layer.compute_dtype}, but only float32 is supported")


def _check_axis(layer: Any) -> None:
    (axis,) = layer.axis if isinstance(layer.axis, list | tuple) and len(layer.axis) == 1 else (layer.axis,)
    if axis not in (-1, len(layer.input.shape) - 1):
        raise CannotExport(f"{layer_title(layer)}: works along axis {layer.axis}, expected the last axis")


def _is_flat(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.Flatten and len(layer.input.shape) == 2


def _array(variable: Any) -> Array:
    return np.array(variable.numpy())  # a copy; keras.ops.convert_to_numpy emits a warning about NumPy 2 for a Variable
