"""Encoded rows as tensors for the compiled training: all at once, or separately for each part of an epoch."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.network.activations import Array
from training.encoded_rows import EncodedMatrix, Targets
from training.streaming.stored_matrix import StoredMatrix

RowNumbers = npt.NDArray[np.intp]


class TensorRows:
    """x (rows, inputs), y as the loss expects it, (rows,) or (rows, classes), and row weights (rows,) or None.

    Rows in memory are converted to tensors once, in the memory of the GPU if TensorFlow has one. Rows on disk are
    converted when they are read.
    """

    def __init__(self, x: EncodedMatrix, y: Targets, weights: Array | None) -> None:
        import tensorflow as tf

        self._tf = tf
        self._stored = x if isinstance(x, StoredMatrix) else None
        arrays = [y] if weights is None else [y, weights]
        self._arrays: list[Any] = arrays if self._stored is not None else [tf.constant(array) for array in (x, *arrays)]

    def set_inputs(self, x: EncodedMatrix) -> None:
        """Replace x by other inputs of the same rows in memory."""
        assert self._stored is None
        self._arrays[0] = self._tf.constant(x)

    def take(self, order: RowNumbers) -> list[Any]:
        """Return x, y and, if there are any, weights; each has the shape of `order`, followed by the shape of one
        row."""
        if self._stored is None:
            return [self._tf.gather(array, order) for array in self._arrays]
        x = self._stored[order.ravel()].reshape((*order.shape, self._stored.shape[1]))
        return [self._tf.constant(array) for array in (x, *(array[order] for array in self._arrays))]

    def inputs(self, rows: RowNumbers | None = None) -> Any:
        """Return x for these rows, by default for all rows."""
        if self._stored is not None:
            return self._tf.constant(self._stored[slice(None) if rows is None else rows])
        return self._arrays[0] if rows is None else self._tf.gather(self._arrays[0], rows)
