"""Chooses the engine of an imported model: NumPy if it supports the layers with equal outputs, else TensorFlow."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.engines import NumpyEngine, TensorFlowEngine
from models.golden_rows import TOLERANCE, max_distance
from models.network.network import Network
from models.tabular_model import Engine, TabularModel
from training.errors import UsageError
from training.importing.encoded_columns import Array
from training.importing.import_options import OutputForm
from training.importing.rebuild import RebuiltModel

SAME = "the layers of the imported model, in NumPy"


@dataclass(frozen=True)
class ImportedEngine:
    """The engine of an imported model. network: None for TensorFlow. distance: the largest difference from the original
    outputs."""

    engine: Engine
    network: Network | None
    reason: str
    distance: float

    @property
    def title(self) -> str:
        return "the NumPy engine" if self.network is not None else f"TensorFlow, because: {self.reason}"


def choose_engine(rebuilt: RebuiltModel, model_of: Any, rows: Any, original: Array) -> ImportedEngine:
    """Return the first engine whose outputs for the rows equal those of the original model.

    model_of: makes a `TabularModel` from an engine. rows: a frame. original: (rows, outputs). Raises UsageError.
    """
    from models.keras_export import CannotExport
    from training.importing.numpy_graph import to_network

    try:
        network = to_network(rebuilt)
        engine = NumpyEngine(network, SAME)
        distance = _distance(model_of(engine), rows, original)
        if distance <= TOLERANCE:
            return ImportedEngine(engine, network, SAME, distance)
        reason = f"the outputs of NumPy differ (by up to {distance:.2g})"
    except CannotExport as error:
        reason = str(error)
    keras_engine = TensorFlowEngine(rebuilt.model, reason)
    distance = _distance(model_of(keras_engine), rows, original)
    if not distance <= TOLERANCE:
        raise UsageError(
            f"the outputs of the imported model differ from model.predict on the sample (by up to {distance:.2g} of "
            f"the scale, allowed {TOLERANCE:.2g}): it is not stored"
        )
    return ImportedEngine(keras_engine, None, reason, distance)


def _distance(model: TabularModel, rows: Any, original: Array) -> float:
    return max_distance(model.predict(rows).primary, original, model.tolerance())


def to_served_outputs(outputs: Array, form: OutputForm) -> Array:
    """Convert the original outputs (rows, outputs) to the served outputs: values, or the probabilities of the classes.

    Raises UsageError if the outputs contradict the form.
    """
    if not np.isfinite(outputs).all():
        raise UsageError("model.predict returns a number that is not finite for a row of the sample")
    outputs = outputs.astype(np.float64)
    if form == "value":
        return outputs
    if form == "logits":
        if outputs.shape[1] == 1:
            second = 1 / (1 + np.exp(-np.clip(outputs, -700, 700)))
            return np.concatenate([1 - second, second], axis=1)
        e = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))
    low, high, sums = outputs.min(), outputs.max(), outputs.sum(axis=1)
    if low < 0 or high > 1 + 1e-5:
        raise UsageError(f"the outputs are not probabilities: they are between {low:.4g} and {high:.4g} on the sample")
    if outputs.shape[1] == 1:
        return np.concatenate([1 - outputs, outputs], axis=1)
    furthest = sums[np.abs(sums - 1).argmax()]
    if abs(furthest - 1) > 1e-3:
        raise UsageError(f"the outputs are not probabilities of classes: a row of the sample sums to {furthest:.4g}")
    return np.asarray(outputs / sums[:, np.newaxis])
