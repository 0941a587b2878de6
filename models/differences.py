"""How the predictions of two versions differ."""

import numpy as np

from models.frame import Frame
from models.outputs import Array
from models.tabular_model import TabularModel


def differences(model: TabularModel, frame: Frame, other: Array) -> Array:
    """The difference of each row to the predictions of another version (rows, ...): that of values, or the largest one
    of the probabilities.

    Returns (rows,). Raises ValueError if the versions have other classes.
    """
    predicted = model.predict(frame).primary
    if predicted.shape != other.shape:
        raise ValueError("the versions have other classes")
    found: Array = np.abs(predicted - other).max(axis=1)
    return found
