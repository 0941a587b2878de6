"""How the predictions of two versions differ."""

import numpy as np

from models.frame import Frame
from models.outputs import Array
from models.tabular_model import TabularModel


def differences(model: TabularModel, frame: Frame, other: Array) -> Array:
    """The difference between each row's prediction and that of another version, `other` (rows, ...): of the values, or
    the largest difference of a probability.

    Returns (rows,). Raises ValueError if the versions have different classes.
    """
    predicted = model.predict(frame).primary
    if predicted.shape != other.shape:
        raise ValueError("the versions have different classes")
    found: Array = np.abs(predicted - other).max(axis=1)
    return found
