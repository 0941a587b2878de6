"""Computes the drift reference of a version: the distributions of its columns and predictions, and its quality."""

import numpy as np

from models.drift.reference import DriftReference, QualityEstimate
from models.frame import FrameColumns
from models.schema import FeatureSchema
from training.conformalization import MIN_TEST_ROWS, HeldOutRows
from training.evaluation import EvaluationMetrics


def fit_reference(
    schema: FeatureSchema, train_rows: FrameColumns, held_out: HeldOutRows, metrics: EvaluationMetrics
) -> DriftReference:
    """The drift reference of a model. train_rows: its training rows. held_out, metrics: the test rows and their
    metrics."""
    reference = DriftReference.fit(schema, train_rows)
    if len(held_out.target) < MIN_TEST_ROWS:
        return reference
    return reference.with_predictions(schema, held_out.outputs, estimate_quality(held_out, metrics))


def estimate_quality(rows: HeldOutRows, metrics: EvaluationMetrics) -> QualityEstimate | None:
    """Estimate the quality from the predictions alone: the mean probability of the predicted class, or the mean scale
    of the errors.

    The mean probability equals the accuracy if probabilities are calibrated. The scale of Laplace distributed errors is
    their mean absolute value.
    """
    if rows.schema.task != "regression":
        confidence = float(rows.outputs.primary.max(axis=1).astype(np.float64).mean())
        return QualityEstimate(metric="accuracy", value=confidence, measured=metrics["accuracy"])
    scale = float(rows.scale.mean())
    return QualityEstimate(metric="mae", value=scale, measured=metrics["mae"]) if np.isfinite(scale) else None
