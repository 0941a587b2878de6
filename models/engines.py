"""The two engines: the network of `models.network`, and a compiled TensorFlow function for all other networks."""

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.keras_archive import check_keras_archive
from models.network.inference import InferenceNetwork
from models.network.network import Network
from models.network.scale_head import ScaleHead, add_scale_head

Matrix = npt.NDArray[np.float32]


class NumpyEngine:
    """The NumPy network, folded for inference."""

    name = "numpy"

    def __init__(self, network: Network, reason: str) -> None:
        self.reason = reason
        self._network = network.for_inference()

    def with_scale_head(self, network: Network, head: ScaleHead) -> "NumpyEngine":
        """The same engine with outputs (rows, 2), value and log scale. It shares all layers except the last.

        network: the network of this engine. Raises ValueError if the head does not belong to it.
        """
        scaled = copy.copy(self)
        scaled._network = self._network.with_output_layer(add_scale_head(network.layers, head))
        return scaled

    def outputs(self, x: Matrix) -> Matrix:
        """(rows, width) -> (rows, outputs)."""
        return self._network.forward(x)

    @property
    def network(self) -> InferenceNetwork:
        return self._network


class DeclaredEngine:
    """The name of a version's engine, in a process that does not load it."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def outputs(self, x: Matrix) -> Matrix:
        raise RuntimeError("this process has not loaded the engine")


class TensorFlowEngine:
    """A Keras model as one traced function: a call runs no Python code for each layer.

    Only a process with such an engine imports TensorFlow.
    """

    name = "tensorflow"

    def __init__(self, model: Any, reason: str) -> None:
        import tensorflow as tf

        self.reason = reason
        self.model = model
        self._constant = tf.constant
        self._function = self._trace(lambda x: model(x, training=False))

    def with_scale_head(self, head: ScaleHead) -> "TensorFlowEngine":
        """The same engine with outputs (rows, 2), value and log scale. Raises ValueError, see `ScaleHead`."""
        import tensorflow as tf

        with_hidden = with_hidden_layer(self.model)
        if with_hidden.outputs[1].shape[1] != head.W.size:
            raise ValueError("the scale head does not belong to this network")
        W, b = tf.constant(head.W[:, np.newaxis]), tf.constant(np.float32(head.b))

        def scaled_outputs(x: Any) -> Any:
            value, hidden = with_hidden(x, training=False)
            return tf.concat([value, tf.matmul(hidden, W) + b], axis=1)

        scaled = copy.copy(self)
        scaled._function = self._trace(scaled_outputs)
        return scaled

    def _trace(self, function: Callable[[Any], Any]) -> Any:
        import tensorflow as tf

        return tf.function(function, input_signature=[tf.TensorSpec([None, self.model.input_shape[-1]], tf.float32)])

    @classmethod
    def read(cls, path: Path, reason: str) -> "TensorFlowEngine":
        """Load a `.keras` file in safe mode (no code from the file is run) and without its optimizer.

        Raises ImportError without Keras, and UnsafeArchive before Keras reads a file that could run code.
        """
        if importlib.util.find_spec("keras") is None:
            raise ImportError("Keras is not installed")
        check_keras_archive(path)
        import keras

        from models import keras_nets  # noqa: F401 - registers the layers that the file names

        return cls(keras.saving.load_model(path, compile=False, safe_mode=True), reason)

    def outputs(self, x: Matrix) -> Matrix:
        """(rows, width) -> (rows, outputs)."""
        return np.asarray(self._function(self._constant(x)).numpy(), dtype=np.float32)


def with_hidden_layer(model: Any) -> Any:
    """A Keras model with a second output (rows, units), the input of its output layer; for an ensemble, the inputs of
    all members' output layers."""
    import keras

    output_layer = next(layer for layer in reversed(model.layers) if layer.weights)
    hidden = keras.layers.Flatten(name="tabserve_hidden")(output_layer.input)  # a name that no layer of the model has
    return keras.Model(model.inputs, [model.outputs[0], hidden])
