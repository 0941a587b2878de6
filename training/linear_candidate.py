"""A linear model as a further candidate: it replaces the default network if its validation loss is not larger.

It is evaluated with the rows, folds and loss that select the network's trial. A constant is the linear model with an
infinite penalty.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from models.architecture import Epoch
from models.encoding.column_encodings import DateEncoding
from models.encoding.encoder import Encoder
from training import linear_model, temperature
from training.encoded_rows import Targets
from training.folds import Fold, draw_folds, fold_inputs
from training.linear_model import PENALTIES, Array64, LinearModel
from training.training_run import FitResult, HeldOutOutputs, RowNumbers, TrainingRun
from training.validation_loss import validation_loss

MAX_COLUMNS = 1000
MAX_CELLS = 2e7  # maximum of rows · columns, for a classification also · classes
CLEARLY_WORSE = 1.2  # ratio to the network's loss above which no other penalties are tried, if there are enough rows
ROWS_PER_COLUMN = 10  # number of rows per column that is sufficient for this decision
REASON = "a linear model"


@dataclass(frozen=True)
class LinearFit:
    """The best linear model. outputs (rows, outputs): for the validation rows, on which it was not trained."""

    loss: float
    penalty: float
    outputs: Array64
    rows: RowNumbers  # rows of the outputs, among the pooled rows

    @property
    def name(self) -> Literal["linear", "constant"]:
        return "linear" if math.isfinite(self.penalty) else "constant"


def compare(run: TrainingRun, encoder: Encoder, fitted: FitResult) -> FitResult:
    """Return the trained network, or a linear model if its loss is not larger. Both losses are in `trial_losses`.

    run: the training run of the network, with rows encoded by `encoder`.
    """
    loss = fitted.validation_loss
    if loss is None:
        return fitted
    started = time.perf_counter()
    candidate = best_candidate(run, encoder, loss)
    if candidate is None:
        return fitted
    tried = fitted.trial_losses | {candidate.name: candidate.loss}
    if candidate.loss > loss:
        return replace(fitted, trial_losses=tried)
    linear = _fit_served(run, encoder, candidate, time.perf_counter() - started)
    if fitted.keras is not None and linear.network is not None:
        architecture = linear_model.architecture_of(encoder, run.architecture.outputs)
        linear = replace(linear, keras=linear_model.to_keras(linear.network, architecture))
    what = "a linear model is" if candidate.name == "linear" else "a constant is"
    run.report(
        f"{what} served: its validation loss is {candidate.loss:.4f}, that of the network {loss:.4f} "
        "(--network ensemble serves the network)"
    )
    return replace(linear, trial_losses=tried, seconds=fitted.seconds + linear.seconds)


def is_affordable(encoder: Encoder, rows: int, outputs: int) -> bool:
    """Whether a linear model can be fitted within seconds."""
    columns = linear_model.column_count(encoder)
    return columns <= MAX_COLUMNS and rows * columns * outputs <= MAX_CELLS


def with_extended_dates(encoder: Encoder) -> Encoder:
    """Dates after the training rows continue the trend, for at most the duration of the training rows, instead of being
    clipped to the last date."""
    numbers = [
        part.model_copy(update={"last": part.last + (part.last - part.first)})
        if isinstance(part, DateEncoding)
        else part
        for part in encoder.numbers
    ]
    return encoder.model_copy(update={"numbers": numbers})


def best_candidate(run: TrainingRun, encoder: Encoder, network_loss: float) -> LinearFit | None:
    """Return the fit with the smallest loss, or None if all losses are infinite."""
    folds, pooled = draw_folds(run), run.pooled
    y = pooled.y
    rows = np.concatenate([fold.validation for fold in folds])
    loss_of = validation_loss(run, y[rows])
    penalties = PENALTIES[run.task == "regression"]
    shared = None if run.fold_means else linear_model.one_hot_columns(np.asarray(pooled.x), encoder)
    columns = [_columns_of(run, encoder, fold) if shared is None else shared for fold in folds]
    fits = [_fit_each(run, x[fold.train], y[fold.train], penalties) for x, fold in zip(columns, folds, strict=True)]
    best: LinearFit | None = None
    for models in zip(*fits, strict=True):
        outputs = np.concatenate(
            [model.predict(x[fold.validation]) for model, x, fold in zip(models, columns, folds, strict=True)]
        )
        loss = loss_of(outputs[:, np.newaxis])
        if math.isfinite(loss) and (best is None or loss < best.loss):
            best = LinearFit(loss, models[0].penalty, outputs, rows)
        if loss > CLEARLY_WORSE * network_loss and len(rows) > ROWS_PER_COLUMN * columns[0].shape[1]:
            break
    return best


def _columns_of(run: TrainingRun, encoder: Encoder, fold: Fold) -> Array64:
    """The one-hot columns of the pooled rows, with the level means of a fold."""
    return linear_model.one_hot_columns(np.asarray(fold_inputs(run, run.pooled.x, fold)), encoder)


def _fit_each(run: TrainingRun, columns: Array64, y: Targets, penalties: Sequence[float]) -> Iterator[LinearModel]:
    classes = 0 if run.task == "regression" else max(run.architecture.outputs, 2)
    return linear_model.fit_each(columns, y, run.task, classes, run.class_weights, penalties)


def fit_with_penalty(run: TrainingRun, columns: Array64, penalty: float) -> LinearModel:
    """Fit a model with a penalty to the first rows of the final fit. columns: their one-hot columns."""
    return next(_fit_each(run, columns, run.final_rows.y[: len(columns)], [penalty]))


def _fit_served(run: TrainingRun, encoder: Encoder, candidate: LinearFit, seconds: float) -> FitResult:
    """The candidate, fitted to the rows that the served network would be trained on."""
    learned = run.final_rows if run.recipe.refit else run.train
    columns = linear_model.one_hot_columns(np.asarray(learned.x), encoder)
    started = time.perf_counter()
    model = fit_with_penalty(run, columns, candidate.penalty)
    t = temperature.calibrate(run, candidate.outputs[:, np.newaxis], run.pooled.y[candidate.rows])
    net = linear_model.to_network(model, encoder, t)
    loss = validation_loss(run, learned.y)(model.predict(columns)[:, np.newaxis])
    seconds += time.perf_counter() - started
    held_out = HeldOutOutputs(candidate.rows, candidate.outputs.astype(np.float32))
    return FitResult(
        network=net,
        keras=None,
        reason=REASON,
        history=[Epoch(1, 1, loss, candidate.loss, 0.0, seconds)],
        seconds=seconds,
        parameters=sum(array.size for array in net.parameters.values()),
        recipe=run.recipe.as_linear(candidate.name, candidate.penalty),
        trial_losses={},
        temperature=t,
        held_out=held_out if run.recipe.refit and run.task == "regression" else None,
    )
