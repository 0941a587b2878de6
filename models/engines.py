"""The two engines: the network of `models.network`, and a compiled TensorFlow function for what it cannot express."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.network.network import Network

Matrix = npt.NDArray[np.float32]


class NumpyEngine:
    """The NumPy network, folded for inference."""

    name = "numpy"

    def __init__(self, network: Network, reason: str) -> None:
        self.reason = reason
        self._network = network.for_inference()

    def outputs(self, x: Matrix) -> Matrix:
        """(rows, width) -> (rows, outputs)."""
        return self._network.forward(x)


class TensorFlowEngine:
    """A Keras model as one traced function: a call runs no Python code for each layer.

    Only a process with such an engine imports TensorFlow.
    """

    name = "tensorflow"

    def __init__(self, model: Any, reason: str) -> None:
        import tensorflow as tf

        self.reason = reason
        signature = [tf.TensorSpec([None, model.input_shape[-1]], tf.float32)]
        self._function = tf.function(lambda x: model(x, training=False), input_signature=signature)
        self._constant = tf.constant

    @classmethod
    def read(cls, path: Path, reason: str) -> "TensorFlowEngine":
        """From a `.keras` file, in safe mode (no code of the file is run) and without its optimizer."""
        import keras

        from models import keras_nets  # noqa: F401 - registers the layers that the file names

        return cls(keras.saving.load_model(path, compile=False, safe_mode=True), reason)

    def outputs(self, x: Matrix) -> Matrix:
        """(rows, width) -> (rows, outputs)."""
        return np.asarray(self._function(self._constant(x)).numpy(), dtype=np.float32)
