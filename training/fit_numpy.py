"""Fits the NumPy network."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.architecture import Epoch, Task
from models.network import losses, network, optimizers
from models.network.network import Network
from training import ensemble, temperature
from training.folds import Evaluate, Fold, FoldResult, draw_folds, fold_inputs, report_trial_rows, run_trial
from training.recipe import Recipe
from training.training_run import FitResult, HeldOutOutputs, OnEpoch, TrainingRun, TrialResult, best_epoch


def fit_plain(run: TrainingRun) -> FitResult:
    """Fit a plain network."""
    net, history = _fit(run)
    return _result(run.recipe, net, history, {})


class NumpyTrials:
    """Trains the trials of a run."""

    def __init__(self, run: TrainingRun) -> None:
        self.run, self.rows, self.folds = run, run.pooled, draw_folds(run)

    def train(self, recipe: Recipe) -> TrialResult:
        """Train a trial. Raises DivergenceError."""
        return run_trial(self.run, recipe, self.folds, self._fit_fold)

    def refit(self, trial: TrialResult) -> Network:
        """The network of the final fit. Raises DivergenceError."""
        return _refit(self.run, trial)

    def _fit_fold(
        self, recipe: Recipe, fold: Fold, evaluate: Evaluate, patience: int | None, on_epoch: OnEpoch
    ) -> FoldResult:
        architecture = ensemble.configure(self.run.architecture, recipe)
        rows = replace(self.rows, x=fold_inputs(self.run, self.rows.x, fold))
        train, validation = (rows.take(part) for part in fold)
        of_fold = replace(
            self.run, recipe=recipe, architecture=architecture, train=train, validation=validation, on_epoch=on_epoch
        )
        net, history = _fit(of_fold, lambda net: evaluate(_members(net).predict(np.asarray(validation.x))), patience)
        return FoldResult(history, net)


def fit_ensemble(run: TrainingRun) -> FitResult:
    """Fit an ensemble with the settings of each trial, and calibrate the best trial."""
    trials = NumpyTrials(run)
    report_trial_rows(run, trials.folds)
    best, trial_losses = ensemble.select_trial(run.recipe, trials.train, run.report, run.train_all)
    t = temperature.calibrate(run, best.outputs, trials.rows.y[best.rows])
    net: Network = ensemble.refit(run, best, trials.refit)
    for parameter in _members(net).layers[-1].parameters.values():
        parameter /= t
    held_out = best.held_out if run.recipe.refit and run.task == "regression" else None
    return replace(
        _result(best.recipe, net, best.history, trial_losses),
        temperature=t,
        held_out=held_out,
        member_outputs=HeldOutOutputs(best.rows, best.outputs),
    )


def _fit(
    run: TrainingRun,
    evaluate: Callable[[Network], float] | None = None,
    patience: int | None = None,
    epochs: int | None = None,
) -> tuple[Network, list[Epoch]]:
    """Fit a network. evaluate: computes an ensemble's validation loss. epochs: number of epochs, without validation."""
    recipe, train = run.recipe, run.train
    rng = np.random.default_rng(recipe.fit_seed)
    net = network.build(run.architecture, rng)
    validation: Any = (np.asarray(run.validation.x), run.validation.y) if evaluate is None else lambda: evaluate(net)
    # One thread: the products of a mini-batch take a fraction of a millisecond, and after each product BLAS threads
    # wait for each other without sleeping. Two threads took 0.93 times as long on two idle cores, 5.8 times as long on
    # two busy cores.
    with threadpool_limits(1, "blas"):
        history = net.fit(
            np.asarray(train.x),
            train.y,
            loss=_loss(recipe, run.task, run.class_weights),
            optimizer=_optimizer(recipe, len(train.x)),
            epochs=epochs or recipe.epochs,
            batch_size=recipe.batch_size,
            rng=rng,
            validation=None if epochs else validation,
            patience=patience or recipe.patience or None,
            keep_best=recipe.network == "ensemble",
            on_epoch=run.on_epoch,
        )
    return net, history


def _refit(run: TrainingRun, trial: TrialResult) -> Network:
    """The network trained on train, validation and further rows, with the trial's recipe up to its best epoch."""
    architecture = ensemble.configure(run.architecture, trial.recipe)
    again = replace(run, recipe=trial.recipe, architecture=architecture, train=run.final_rows)
    return _fit(again, epochs=best_epoch(trial.history).number)[0]


def _members(net: Network) -> Network:
    """An ensemble without its last layer, the members' mean: (batch, inputs) -> (batch, members, outputs)."""
    return Network(net.layers[:-1])


def _result(recipe: Recipe, net: Network, history: list[Epoch], trial_losses: dict[str, float]) -> FitResult:
    parameters = sum(array.size for array in net.parameters.values())
    return FitResult(net, None, "trained by the NumPy network itself", history, 0.0, parameters, recipe, trial_losses)


def _loss(recipe: Recipe, task: Task, weights: list[float] | None) -> losses.Loss:
    if task == "regression":
        return losses.Huber() if recipe.loss == "huber" else losses.SquaredError()
    loss = losses.BinaryCrossEntropy if task == "binary" else losses.CategoricalCrossEntropy
    return loss(recipe.label_smoothing, weights)


def _optimizer(recipe: Recipe, rows: int) -> optimizers.Optimizer:
    steps = math.ceil(rows / recipe.batch_size)  # per epoch
    if recipe.network == "ensemble":
        return ensemble.optimizer(recipe, steps)
    rate: float | optimizers.Schedule = recipe.learning_rate
    if recipe.schedule == "cosine":
        rate = optimizers.Cosine(recipe.learning_rate, steps * recipe.epochs, warmup=min(steps, 1000))
    elif recipe.schedule == "exponential":
        rate = optimizers.Exponential(recipe.learning_rate, 0.9, steps)
    if recipe.optimizer == "adamw":
        return optimizers.AdamW(rate, recipe.weight_decay, beta_2=0.99, clip_norm=recipe.clip_norm)
    if recipe.optimizer == "adam":
        return optimizers.Adam(rate, clip_norm=recipe.clip_norm)
    return optimizers.SGD(rate, momentum=0.9 if recipe.optimizer == "momentum" else 0.0, clip_norm=recipe.clip_norm)
