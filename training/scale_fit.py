"""The scale of a regression's errors as a part of the served model, fitted to errors on encoded rows."""

from dataclasses import replace
from typing import Any

import numpy as np

from models.engines import NumpyEngine, TensorFlowEngine
from models.network.network import Network
from models.network.scale_head import ScaleHead
from models.tabular_model import Engine, TabularModel
from training import conformalization
from training.encoded_rows import EncodedRows, Targets
from training.error_scale import MAX_LEARNED_ROWS, RowErrors, fit_scale_head
from training.streaming.spilled_frame import Indices
from training.streaming.stored_matrix import Matrix
from training.training_run import FitResult, Report

MAX_HELD_OUT_ROWS = 20_000  # for fitting the scale; ten times as many rows give the same scale in ten times the time
MANY_ROWS = 250_000  # learned rows, of which only the needed number is predicted


def add_scale(
    model: TabularModel,
    fitted: FitResult,
    rows: EncodedRows,
    pooled: Indices,
    validation: Indices,
    learned: Indices,
    report: Report,
) -> tuple[ScaleHead, TabularModel]:
    """The fitted scale, and the model with this scale. pooled, validation and learned are row indices; pooled has the
    train rows first, then the validation rows."""
    held_out = held_out_errors(model, fitted, rows, pooled, validation)
    whole = len(validation if fitted.held_out is None else fitted.held_out.rows)
    if len(held_out[1]) < whole:
        report(
            f"the scale of the errors is fitted to {len(held_out[1]):,} of {whole:,} rows that the network did not "
            "learn from: more would not change it"
        )
    return with_scale_head(model, fitted.network, fitted.keras, held_out, learned_errors(model, rows, learned))


def held_out_errors(
    model: TabularModel, fitted: FitResult, rows: EncodedRows, pooled: Indices, validation: Indices
) -> tuple[Matrix, Targets]:
    """Encoded rows, and a regression's errors for them of networks that did not learn from them.

    Errors for rows that a network learned from would be too small.
    """
    target = model.encoder.target
    if fitted.held_out is None:
        numbers = spread(validation, MAX_HELD_OUT_ROWS)
        x = rows.x[numbers]
        return x, rows.y[numbers] - target.apply(model.predict_encoded(x).primary[:, 0])
    held_out = spread(np.arange(len(fitted.held_out.rows)), MAX_HELD_OUT_ROWS)
    numbers = pooled[fitted.held_out.rows[held_out]]
    return rows.x[numbers], rows.y[numbers] - target.apply(target.unscale(fitted.held_out.outputs[held_out]))[:, 0]


def learned_errors(model: TabularModel, rows: EncodedRows, learned: Indices) -> tuple[Matrix, Targets]:
    """Rows that the network learned from, and its errors for them."""
    numbers = learned if len(learned) <= MANY_ROWS else spread(learned, MAX_LEARNED_ROWS)
    x = rows.x[numbers]
    return x, rows.y[numbers] - model.encoder.target.apply(model.predict_encoded(x).primary[:, 0])


def spread(rows: Indices, limit: int) -> Indices:
    """Every k-th of the rows, `limit` at most."""
    return rows[:: max(1, -(-len(rows) // limit))]


def with_scale_head(
    model: TabularModel, network: Network | None, keras_model: Any, *errors: tuple[Matrix, Targets]
) -> tuple[ScaleHead, TabularModel]:
    """The scale of a regression's errors, and the model with it.

    network, keras_model: as `hidden_outputs` takes them. errors: encoded rows and the errors for them: those that
    `fit_scale_head` takes.
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
