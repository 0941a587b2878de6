"""Fits the scale of a regression's errors to errors on encoded rows, and adds it to the served model."""

from dataclasses import replace
from typing import Any

import numpy as np

from models.engines import NumpyEngine, TensorFlowEngine
from models.network.network import Network
from models.network.scale_head import ScaleHead
from models.tabular_model import Engine, TabularModel
from training import conformalization
from training.encoded_rows import EncodedRows, Targets
from training.error_scale import MAX_TRAINING_ROWS, RowErrors, fit_scale_head
from training.streaming.spilled_frame import Indices
from training.streaming.stored_matrix import Matrix
from training.training_run import FitResult, Report

MAX_HELD_OUT_ROWS = 20_000  # for fitting the scale; ten times as many rows give the same scale in ten times the time
MANY_ROWS = 250_000  # with more training rows, only as many as needed are predicted


def add_scale(
    model: TabularModel,
    fitted: FitResult,
    rows: EncodedRows,
    pooled: Indices,
    validation: Indices,
    training: Indices,
    report: Report,
) -> tuple[ScaleHead, TabularModel]:
    """The fitted scale, and the model with this scale. pooled, validation and training are row indices; pooled has the
    train rows first, then the validation rows."""
    held_out = held_out_errors(model, fitted, rows, pooled, validation)
    whole = len(validation if fitted.held_out is None else fitted.held_out.rows)
    if len(held_out[1]) < whole:
        report(
            f"the scale of the errors is fitted to {len(held_out[1]):,} of {whole:,} rows that the network was not "
            "trained on: more rows would not change it"
        )
    return with_scale_head(model, fitted.network, fitted.keras, held_out, training_errors(model, rows, training))


def held_out_errors(
    model: TabularModel, fitted: FitResult, rows: EncodedRows, pooled: Indices, validation: Indices
) -> tuple[Matrix, Targets]:
    """Encoded rows, and a regression's errors on them by networks that were not trained on them.

    Errors on training rows would be too small.
    """
    target = model.encoder.target
    if fitted.held_out is None:
        numbers = evenly_spaced(validation, MAX_HELD_OUT_ROWS)
        x = rows.x[numbers]
        return x, target.errors(rows.y[numbers], model.predict_encoded(x).primary[:, 0])
    held_out = evenly_spaced(np.arange(len(fitted.held_out.rows)), MAX_HELD_OUT_ROWS)
    numbers = pooled[fitted.held_out.rows[held_out]]
    return rows.x[numbers], target.errors(rows.y[numbers], target.unscale(fitted.held_out.outputs[held_out])[:, 0])


def training_errors(model: TabularModel, rows: EncodedRows, training: Indices) -> tuple[Matrix, Targets]:
    """Training rows of the network, and its errors on them."""
    numbers = training if len(training) <= MANY_ROWS else evenly_spaced(training, MAX_TRAINING_ROWS)
    x = rows.x[numbers]
    return x, model.encoder.target.errors(rows.y[numbers], model.predict_encoded(x).primary[:, 0])


def evenly_spaced(rows: Indices, limit: int) -> Indices:
    """Select every k-th row, at most `limit` rows."""
    return rows[:: max(1, -(-len(rows) // limit))]


def with_scale_head(
    model: TabularModel, network: Network | None, keras_model: Any, *errors: tuple[Matrix, Targets]
) -> tuple[ScaleHead, TabularModel]:
    """The scale of a regression's errors, and the model with it.

    network, keras_model: the arguments of `hidden_outputs`. errors: encoded rows and the errors on them, for each
    argument of `fit_scale_head`.
    """
    rows = [RowErrors(conformalization.hidden_outputs(network, keras_model, x), of_rows) for x, of_rows in errors]
    head = fit_scale_head(*rows)
    engine = model.engine
    scaled: Engine
    if isinstance(engine, NumpyEngine):
        assert network is not None
        scaled = engine.with_scale_head(network, head)
    else:
        assert isinstance(engine, TensorFlowEngine)
        scaled = engine.with_scale_head(head)
    return head, replace(model, scaled_engine=scaled, scale_limits=head.limits)
