"""Golden rows: a version is served only if its predictions for these rows are the same as in training."""

import numpy as np

from models.outputs import Array
from models.rows import validate_rows
from models.tabular_model import TabularModel
from models.version_files import StoreError

TOLERANCE = 1e-5  # maximum distance of predictions that count as equal, see `max_distance`
GOLDEN_TOLERANCE = 10 * TOLERANCE


def check(model: TabularModel) -> None:
    """Raises StoreError if the predictions of a version differ from those in training."""
    if not model.golden.rows:
        raise StoreError(f"{model.tag} has no golden rows")
    validated = validate_rows(model.schema, model.golden.rows)
    if validated.errors:
        raise StoreError(f"{model.tag}: its golden rows are not valid by its schema: {validated.errors[0].message}")
    actual = model.predict(validated.frame).primary
    expected = np.array(model.golden.predictions)
    if actual.shape != expected.shape:
        raise StoreError(f"{model.tag}: predictions of shape {actual.shape}, but {expected.shape} in training")
    distance = max_distance(actual, expected, model.tolerance())
    if not distance <= GOLDEN_TOLERANCE:
        raise StoreError(
            f"{model.tag} does not predict its golden rows as it did in training (distance {distance:.2g}, allowed "
            f"{GOLDEN_TOLERANCE:.2g} of the larger of the prediction and {model.tolerance():.4g}): "
            "it must not be served"
        )


def max_distance(actual: Array, expected: Array, scale: float) -> float:
    """The largest |a - b| / max(|b|, scale). Predictions are equal if it is at most TOLERANCE; NaN is never equal."""
    return float(np.max(np.abs(actual - expected) / np.maximum(np.abs(expected), scale), initial=0.0))
