"""The Keras networks and their layers: `build` makes the same network as `network.build` in NumPy."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from models.architecture import TABLE_DEVIATION, Architecture, Link

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="tabserve", name="Columns")  # the name in stored versions
class ColumnSlice(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Columns start to stop of a matrix: (batch, all) -> (batch, stop - start)."""

    def __init__(self, start: int, stop: int, **options: Any) -> None:
        super().__init__(**options)
        self.start, self.stop = start, stop

    def call(self, x: Any) -> Any:
        return x[:, self.start : self.stop]

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (shape[0], self.stop - self.start)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start, "stop": self.stop}


@keras.saving.register_keras_serializable(package="tabserve")
class Periodic(keras.layers.Layer):  # type: ignore[misc]
    """Appends periodic features of the first n columns to the unchanged columns: (batch, d) -> (batch, d + n *
    embedding).

    cₙ = cos(2π·xₙ·wₙ + phaseₙ) are `frequencies` cosines of column n, and relu(cₙ·Vₙ + bₙ) its features. The initial
    frequencies w are normal with standard deviation scales[n]. Gorishniy et al. 2022, arXiv 2203.05556.
    """

    def __init__(self, scales: Sequence[float], frequencies: int, embedding: int, **options: Any) -> None:
        super().__init__(**options)
        self.scales, self.frequencies, self.embedding = list(scales), frequencies, embedding

    def build(self, shape: Shape) -> None:
        n, h, e = len(self.scales), self.frequencies, self.embedding
        scales = np.array(self.scales, np.float32)[:, np.newaxis]
        self.w = self.add_weight((n, h), lambda shape, dtype: _normal()(shape, dtype) * scales, name="w")
        self.phase = self.add_weight((n, h), _uniform(math.pi), name="phase")
        self.V = self.add_weight((n, h, e), _uniform(h**-0.5), name="V")
        self.b = self.add_weight((n, e), _uniform(h**-0.5), name="b")

    def call(self, x: Any) -> Any:
        n = len(self.scales)
        angle = x[:, :n, np.newaxis] * (self.w * (2 * math.pi)) + self.phase  # (batch, n, frequencies)
        features = ops.relu(ops.einsum("bnh,nhe->bne", ops.cos(angle), self.V) + self.b)
        return ops.concatenate([x, ops.reshape(features, (-1, n * self.embedding))], axis=1)

    def compute_output_shape(self, shape: Shape) -> Shape:
        assert shape[1] is not None
        return (shape[0], shape[1] + len(self.scales) * self.embedding)

    def get_config(self) -> dict[str, Any]:
        options = {"scales": self.scales, "frequencies": self.frequencies, "embedding": self.embedding}
        return {**super().get_config(), **options}


@keras.saving.register_keras_serializable(package="tabserve")
class Members(keras.layers.Layer):  # type: ignore[misc]
    """Scales a row for each member, yₖ = x·rₖ: (batch, d) -> (batch, members, d). Initially r is 1 or -1 at random.

    Members share the weights of later layers. Gorishniy et al. 2024, arXiv 2410.24210 (TabM-mini), after Wen et
    al. 2020, arXiv 2002.06715 (BatchEnsemble).
    """

    def __init__(self, members: int, **options: Any) -> None:
        super().__init__(**options)
        self.members = members

    def build(self, shape: Shape) -> None:
        self.r = self.add_weight((self.members, shape[1]), _signs, name="r")

    def call(self, x: Any) -> Any:
        return x[:, np.newaxis, :] * self.r

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (shape[0], self.members, shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "members": self.members}


@keras.saving.register_keras_serializable(package="tabserve")
class SharedDense(keras.layers.Layer):  # type: ignore[misc]
    """A dense layer with one matrix for all members and scales for each member: yₖ = ((xₖ·rₖ)·W)·sₖ + bₖ.

    (batch, members, d) -> (batch, members, units). An input (batch, d) is the same for all members; r is then initially
    1 or -1 at random, otherwise 1. Wen et al. 2020, arXiv 2002.06715 (BatchEnsemble), in Gorishniy et al. 2024, arXiv
    2410.24210 (TabM).
    """

    def __init__(self, members: int, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.members, self.units = members, units

    def build(self, shape: Shape) -> None:
        k, d = self.members, shape[-1]
        assert d is not None
        self.W = self.add_weight((d, self.units), _uniform((3 / d) ** 0.5), name="W")
        self.r = self.add_weight((k, d), _signs if len(shape) == 2 else "ones", name="r")
        self.s = self.add_weight((k, self.units), "ones", name="s")
        self.b = self.add_weight((k, self.units), _uniform(d**-0.5), name="b")

    def call(self, x: Any) -> Any:
        scaled = (x[:, np.newaxis, :] if len(x.shape) == 2 else x) * self.r
        return ops.matmul(scaled, self.W) * self.s + self.b

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (shape[0], self.members, self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "members": self.members, "units": self.units}


@keras.saving.register_keras_serializable(package="tabserve")
class MemberDense(keras.layers.Layer):  # type: ignore[misc]
    """A dense layer for each member, yₖ = xₖ·Wₖ + bₖ: (batch, members, d) -> (batch, members, units)."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, shape: Shape) -> None:
        _, members, d = shape
        assert d is not None
        self.W = self.add_weight((members, d, self.units), _uniform(d**-0.5), name="W")
        self.b = self.add_weight((members, self.units), "zeros", name="b")

    def call(self, x: Any) -> Any:
        return ops.einsum("bkd,kdu->bku", x, self.W) + self.b

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (*shape[:2], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="tabserve")
class MemberMean(keras.layers.Layer):  # type: ignore[misc]
    """The mean of the members' outputs: (batch, members, outputs) -> (batch, outputs), on the scale of one member.

    "linear" is the mean of values; "sigmoid" the logit of the mean probability; "softmax" the logarithm of the mean
    probability.
    """

    def __init__(self, link: Link = "linear", **options: Any) -> None:
        super().__init__(**options)
        self.link = link

    def call(self, x: Any) -> Any:
        if self.link == "linear":
            return ops.mean(x, axis=1)
        if self.link == "sigmoid":  # log(Σ p / Σ (1 - p)), with probabilities as logarithms
            return ops.logsumexp(ops.log_sigmoid(x), axis=1) - ops.logsumexp(ops.log_sigmoid(-x), axis=1)
        return ops.logsumexp(ops.log_softmax(x, axis=-1), axis=1) - math.log(x.shape[1])

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (shape[0], shape[2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "link": self.link}


@keras.saving.register_keras_serializable(package="tabserve")
class LogProbabilities(keras.layers.Layer):  # type: ignore[misc]
    """Converts probabilities to logits: log(p / (1 - p)) of one column, log(p) of several. The shape (batch, outputs)
    is unchanged.

    The probabilities of an imported model may not come from logits, for example if they are the mean of two softmaxes.
    """

    def call(self, p: Any) -> Any:
        smallest = 1e-30 if p.shape[-1] > 1 else 1e-7
        p = ops.clip(p, smallest, 1.0)
        return ops.log(p) if p.shape[-1] > 1 else ops.log(p) - ops.log(ops.maximum(1.0 - p, smallest))

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape


def build(architecture: Architecture) -> keras.Model:
    """A network with initial weights, which are reproducible after `keras.utils.set_random_seed`."""
    matrix = keras.Input((architecture.numbers + len(architecture.categories),))
    chain = _ensemble(architecture) if architecture.members else _perceptron(architecture)
    if not architecture.categories:
        return keras.Sequential([matrix, *_periodic(architecture), *chain])
    h = _embedded(matrix, architecture)
    for layer in (*_periodic(architecture), *chain):
        h = layer(h)
    return keras.Model(matrix, h)


def member_model(model: keras.Model) -> keras.Model:
    """The model to train. For an ensemble, it contains all layers except the last: (batch, inputs) -> (batch, members,
    outputs).

    The loss is the mean of the members' losses, not the loss of their mean. A model without members is returned
    unchanged.
    """
    last = model.layers[-1]
    return keras.Model(model.inputs[0], last.input) if isinstance(last, MemberMean) else model


def zero_unseen(model: keras.Model) -> None:
    """Set the last row of every table, for unseen levels, to zero again after training."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding):
            table = np.array(layer.get_weights()[0])
            table[-1] = 0
            layer.set_weights([table])


def _periodic(architecture: Architecture) -> Iterator[keras.layers.Layer]:
    if architecture.scales:
        yield Periodic(architecture.scales, architecture.frequencies, architecture.embedding)


def _perceptron(architecture: Architecture) -> Iterator[keras.layers.Layer]:
    for units in architecture.hidden:
        yield from _hidden(architecture, keras.layers.Dense(units))
    yield keras.layers.Dense(architecture.outputs)


def _ensemble(architecture: Architecture) -> Iterator[keras.layers.Layer]:
    shared = architecture.adapters and architecture.hidden
    if not shared:
        yield Members(architecture.members)
    width = architecture.embedded_width + len(architecture.scales) * architecture.embedding
    for units in architecture.hidden:
        if shared:
            yield from _hidden(architecture, SharedDense(architecture.members, units))
        else:
            bias = _uniform(width**-0.5)
            yield from _hidden(architecture, keras.layers.Dense(units, None, True, "lecun_uniform", bias))
        width = units
    yield MemberDense(architecture.outputs)
    yield MemberMean(architecture.link)


def _hidden(architecture: Architecture, dense: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """A dense layer with normalization, activation and dropout."""
    if architecture.batch_normalization or isinstance(dense, SharedDense):
        yield dense
        if architecture.batch_normalization:
            yield keras.layers.BatchNormalization()
        yield keras.layers.Activation(architecture.activation)
    else:
        dense.activation = keras.activations.get(architecture.activation)
        yield dense
    if architecture.dropout:
        yield keras.layers.Dropout(architecture.dropout)


def _embedded(matrix: Any, architecture: Architecture) -> Any:
    """Unchanged numbers, then the embedding of each category column."""
    numbers = architecture.numbers
    parts = [ColumnSlice(0, numbers, name="numbers")(matrix)] if numbers else []
    start = _normal(TABLE_DEVIATION) if architecture.members else "uniform"
    for j, (levels, units) in enumerate(architecture.categories):
        column = ColumnSlice(numbers + j, numbers + j + 1, name=f"category_{j}")(matrix)
        table = keras.layers.Embedding(levels, units, start, name=f"table_{j}")
        parts.append(keras.layers.Reshape((units,))(table(column)))  # (batch, 1, units) -> (batch, units)
    return parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)


def _normal(deviation: float = 1.0) -> keras.Initializer:
    return keras.initializers.RandomNormal(stddev=deviation)


def _signs(shape: Shape, dtype: Any = None) -> Any:
    return ops.sign(_normal()(shape, dtype))


def _uniform(limit: float) -> keras.Initializer:
    return keras.initializers.RandomUniform(-limit, limit)
