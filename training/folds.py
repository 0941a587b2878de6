"""The folds that evaluate a trial: one validation set or, for small tables, five folds.

With few rows the best trial and the best epoch depend on which rows are in the validation set. With five folds, each
train and validation row is evaluated by a network that was not trained on it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.architecture import Epoch
from models.network.activations import Array
from training.encoded_rows import EncodedMatrix
from training.recipe import MAX_EXAMPLES, Recipe
from training.training_run import OnEpoch, RowNumbers, TrainingRun, TrialResult, best_epoch
from training.validation_loss import validation_loss

MAX_TRIAL_ROWS = MAX_EXAMPLES
Evaluate = Callable[[Array], float]
"""Returns the validation loss of an epoch for the members' outputs (rows, members, outputs)."""


class Fold(NamedTuple):
    """The train and validation rows of a fold, as numbers of pooled rows (`TrainingRun.pooled`)."""

    train: RowNumbers
    validation: RowNumbers


class FoldResult(NamedTuple):
    """A record of each epoch on one fold, and the weights of the best epoch in the framework's format."""

    history: list[Epoch]
    weights: object


FitFold = Callable[[Recipe, Fold, Evaluate, int | None, OnEpoch], FoldResult]
"""Trains with a recipe on a fold. The number is the patience: epochs without a smaller loss before training stops."""


def draw_folds(run: TrainingRun) -> list[Fold]:
    """The folds of the recipe, stratified for a classification."""
    count, rows = run.recipe.folds, np.arange(len(run.train.x) + len(run.validation.x))
    if count == 1:
        return [Fold(_trial_rows(run, rows[: len(run.train.x)]), rows[len(run.train.x) :])]
    shuffled = np.random.default_rng(run.recipe.fit_seed).permutation(rows)
    shuffled = shuffled[np.argsort(run.pooled.y[shuffled], kind="stable")]  # neighbouring rows go to different folds
    parts = [np.sort(shuffled[number::count]) for number in range(count)]
    return [Fold(np.setdiff1d(rows, part), part) for part in parts]


def _trial_rows(run: TrainingRun, train: RowNumbers) -> RowNumbers:
    """The rows that each trial is trained on: all, or a sample of a large table if the final fit uses all."""
    if not run.recipe.refit or len(train) <= MAX_TRIAL_ROWS:
        return train
    return np.sort(np.random.default_rng(run.recipe.fit_seed).permutation(train)[:MAX_TRIAL_ROWS])


def fold_inputs(run: TrainingRun, x: EncodedMatrix, fold: Fold) -> EncodedMatrix:
    """Encoded rows with the level means of a fold. x: the pooled rows, and possibly further rows."""
    return x if run.fold_means is None else run.fold_means.apply(np.asarray(x), fold.train, fold.validation)


def report_trial_rows(run: TrainingRun, folds: list[Fold]) -> None:
    """Report that the trials are not trained on all rows."""
    rows = len(run.train.y)
    if len(folds) == 1 and len(folds[0].train) < rows:
        run.report(
            f"each trial is trained on {len(folds[0].train):,} of {rows:,} train rows, drawn at random: more rows "
            "would hardly change which trial is best; the final fit uses all rows (with --final train each trial does)"
        )


def run_trial(run: TrainingRun, recipe: Recipe, folds: list[Fold], fit: FitFold) -> TrialResult:
    """Train with a recipe on each fold; the best epoch has the smallest loss over the validation rows of all folds."""
    patience = max(5, recipe.epochs // 5) if len(folds) > 1 else None
    outputs: list[list[Array]] = []  # outputs for each fold and epoch
    results = []
    for fold in folds:
        outputs.append([])
        evaluate = _evaluate(run, fold, outputs[-1], keep_all=len(folds) > 1)
        on_epoch = run.on_epoch if len(folds) == 1 else _ignore_epoch
        results.append(fit(recipe, fold, evaluate, patience, on_epoch))
    if len(folds) == 1:
        return TrialResult(recipe, results[0].history, results[0].weights, outputs[0][-1], folds[0].validation)
    epochs = min(len(result.history) for result in results)
    rows = np.concatenate([fold.validation for fold in folds])
    loss = validation_loss(run, run.pooled.y[rows])
    history = [
        _mean_epoch(
            [result.history[epoch] for result in results], loss(np.concatenate([one[epoch] for one in outputs]))
        )
        for epoch in range(epochs)
    ]
    best = best_epoch(history).number - 1
    run.report(
        f"dropout {recipe.dropout:g}, {len(folds)} folds: best epoch {best + 1} of {recipe.epochs}, "
        f"validation {history[best].validation_loss:.4f}"
    )
    return TrialResult(recipe, history, results[0].weights, np.concatenate([one[best] for one in outputs]), rows)


def _ignore_epoch(epoch: Epoch) -> None:
    """Do nothing: if there are several folds, their epochs are not reported."""


def _evaluate(run: TrainingRun, fold: Fold, outputs: list[Array], keep_all: bool) -> Evaluate:
    """Return a function that computes the loss of a fold's validation rows and stores the outputs of all or the best
    epochs."""
    loss, losses = validation_loss(run, run.pooled.y[fold.validation]), list[float]()

    def evaluate(after_epoch: Array) -> float:
        losses.append(loss(after_epoch))
        if keep_all or losses[-1] < min(losses[:-1], default=math.inf):
            outputs[:] = [*outputs, after_epoch] if keep_all else [after_epoch]
        return losses[-1]

    return evaluate


def _mean_epoch(epochs: list[Epoch], validation_loss: float) -> Epoch:
    loss = sum(epoch.loss for epoch in epochs) / len(epochs)
    return epochs[0]._replace(
        loss=loss, validation_loss=validation_loss, seconds=sum(epoch.seconds for epoch in epochs)
    )
