"""Fits a network with a recipe: in Keras or in NumPy, as an ensemble or as a plain network."""

import time
from dataclasses import replace

import numpy as np

from models.architecture import Architecture, Task
from models.network.network import DivergenceError
from training import fit_keras, fit_numpy
from training.encoded_rows import EncodedRows, Targets
from training.level_columns import FoldMeans
from training.recipe import Recipe
from training.training_run import FitResult, OnEpoch, OnRows, Report, TrainingRun, TrialResult, TrialTrainer

FIT_FUNCTIONS = {
    ("numpy", "ensemble"): fit_numpy.fit_ensemble,
    ("numpy", "plain"): fit_numpy.fit_plain,
    ("keras", "ensemble"): fit_keras.fit_ensemble,
    ("keras", "plain"): fit_keras.fit_plain,
}


def fit(
    recipe: Recipe,
    architecture: Architecture,
    task: Task,
    train: EncodedRows,
    validation: EncodedRows,
    on_epoch: OnEpoch,
    report: Report = lambda text: None,
    on_rows: OnRows = lambda done, total: None,
    further: EncodedRows | None = None,
    trainer: TrialTrainer | None = None,
    fold_means: FoldMeans | None = None,
) -> FitResult:
    """Train a network with a recipe. report: receives messages about decisions. further: rows for the final fit only.

    trainer: trains several trials at once. fold_means: fits the level means of each fold.
    Raises DivergenceError if the loss becomes infinite or NaN.
    """
    run = training_run(recipe, architecture, task, train, validation, on_epoch, report, on_rows, further, fold_means)
    return fit_run(replace(run, trainer=trainer))


def fit_run(run: TrainingRun) -> FitResult:
    """Train with these arguments. Raises DivergenceError."""
    recipe = run.recipe
    started = time.perf_counter()
    result = FIT_FUNCTIONS[recipe.framework, recipe.network](run)
    return replace(result, seconds=time.perf_counter() - started)


def fit_trial(run: TrainingRun, recipe: Recipe) -> TrialResult | DivergenceError:
    """Train a single trial of a run."""
    keras = run.recipe.framework == "keras"
    train = fit_keras.KerasTrials(run).train if keras else fit_numpy.NumpyTrials(run).train
    try:
        return train(recipe)
    except DivergenceError as error:
        return error


def training_run(
    recipe: Recipe,
    architecture: Architecture,
    task: Task,
    train: EncodedRows,
    validation: EncodedRows,
    on_epoch: OnEpoch = lambda epoch: None,
    report: Report = lambda text: None,
    on_rows: OnRows = lambda done, total: None,
    further: EncodedRows | None = None,
    fold_means: FoldMeans | None = None,
) -> TrainingRun:
    """The arguments of a training run, including the weights of the classes."""
    weights = class_weights(train.y, max(architecture.outputs, 2)) if recipe.class_weights == "balanced" else None
    reports = on_epoch, report, on_rows
    return TrainingRun(recipe, architecture, task, train, validation, weights, *reports, further, fold_means=fold_means)


def class_weights(y: Targets, classes: int) -> list[float]:
    """rows / (classes * rows of the class), so that all classes have the same total weight; 0 for an absent class."""
    counts = np.bincount(y.astype(int), minlength=classes)
    return [len(y) / (np.count_nonzero(counts) * count) if count else 0.0 for count in counts.tolist()]
