"""The Keras networks, and the only place that builds them: the same layers that `network.build` makes in NumPy."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from models.architecture import Architecture


@keras.saving.register_keras_serializable(package="tabserve")
class Columns(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Columns start to stop of a matrix: (batch, all) -> (batch, stop - start)."""

    def __init__(self, start: int, stop: int, **options: Any) -> None:
        super().__init__(**options)
        self.start, self.stop = start, stop

    def call(self, x: Any) -> Any:
        return x[:, self.start : self.stop]

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], self.stop - self.start)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start, "stop": self.stop}


def build(architecture: Architecture) -> keras.Model:
    """A network with fresh weights, drawn as Keras draws them by default; `keras.utils.set_random_seed` fixes them."""
    matrix = keras.Input((architecture.numbers + len(architecture.categories),))
    if not architecture.categories:
        return keras.Sequential([matrix, *_perceptron(architecture)])
    h = _looked_up(matrix, architecture)
    for layer in _perceptron(architecture):
        h = layer(h)
    return keras.Model(matrix, h)


def zero_unseen(model: keras.Model) -> None:
    """After training, make the last row of every table zero again: it stands for levels that training never saw."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding):
            table = np.array(layer.get_weights()[0])
            table[-1] = 0
            layer.set_weights([table])


def _perceptron(architecture: Architecture) -> Iterator[keras.layers.Layer]:
    for units in architecture.hidden:
        if architecture.batch_normalization:
            yield keras.layers.Dense(units)
            yield keras.layers.BatchNormalization()
            yield keras.layers.Activation(architecture.activation)
        else:
            yield keras.layers.Dense(units, activation=architecture.activation)
        if architecture.dropout:
            yield keras.layers.Dropout(architecture.dropout)
    yield keras.layers.Dense(architecture.outputs)


def _looked_up(matrix: Any, architecture: Architecture) -> Any:
    """Numbers as they are, each category column through its table, side by side."""
    numbers = architecture.numbers
    parts = [Columns(0, numbers, name="numbers")(matrix)] if numbers else []
    for j, (levels, units) in enumerate(architecture.categories):
        column = Columns(numbers + j, numbers + j + 1, name=f"category_{j}")(matrix)
        table = keras.layers.Embedding(levels, units, name=f"table_{j}")
        parts.append(keras.layers.Reshape((units,))(table(column)))  # (batch, 1, units) -> (batch, units)
    return parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)
