"""Fits a network with Keras: a plain network with `Model.fit`, an ensemble with a compiled training loop."""

import os
from dataclasses import replace
from typing import Any

import numpy as np

from models.architecture import Architecture, Epoch
from training import ensemble, temperature
from training.ensemble_keras import EnsembleTrainer
from training.folds import Evaluate, Fold, FoldResult, draw_folds, fold_inputs, report_trial_rows, run_trial
from training.keras_options import encode_targets, epoch_callback, loss_of, optimizer_of
from training.recipe import Recipe
from training.training_run import FitResult, HeldOutOutputs, OnEpoch, TrainingRun, TrialResult

STEPS_PER_EXECUTION = 8  # training steps that TensorFlow runs before it returns to Python


def fit_plain(run: TrainingRun) -> FitResult:
    """Fit a plain network."""
    _quiet_tensorflow()
    import keras

    from models import keras_nets

    recipe, outputs = run.recipe, run.architecture.outputs
    keras.utils.set_random_seed(recipe.fit_seed)
    model = keras_nets.build(run.architecture)
    model.compile(
        optimizer=optimizer_of(recipe, len(run.train.x)),
        loss="mse" if recipe.loss == "mse" else loss_of(recipe, run.task),  # the text "mse", as in the tutorial
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    history: list[Epoch] = []
    callbacks = [epoch_callback(recipe, history, run.on_epoch)]
    if recipe.patience:
        callbacks.append(keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True))
    model.fit(
        np.asarray(run.train.x),
        encode_targets(recipe, run.task, run.train.y, outputs),
        validation_data=(np.asarray(run.validation.x), encode_targets(recipe, run.task, run.validation.y, outputs)),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        class_weight=None if run.class_weights is None else dict(enumerate(run.class_weights)),
        callbacks=callbacks,
        verbose=0,
    )
    return _result(recipe, model, run.architecture, history, {})


class KerasTrials:
    """Trains the trials of a run; they share compiled programs."""

    def __init__(self, run: TrainingRun) -> None:
        _quiet_tensorflow()
        self.run, self.rows, self.folds = run, run.final_rows, draw_folds(run)  # the folds have no further rows
        self._trainers: dict[int, EnsembleTrainer] = {}

    def trainer(self, frequencies: int) -> EnsembleTrainer:
        if frequencies not in self._trainers:
            run, recipe = self.run, self.run.recipe
            weights = None if run.class_weights is None else np.array(run.class_weights, np.float32)[self.rows.y]
            targets = encode_targets(recipe, run.task, self.rows.y, run.architecture.outputs)
            architecture = replace(run.architecture, frequencies=frequencies)
            loss = loss_of(recipe, run.task, reduction=None)
            data, train_rows = (self.rows.x, targets, weights), len(self.folds[0].train)
            self._trainers[frequencies] = EnsembleTrainer(recipe, architecture, loss, data, train_rows, run.on_rows)
        return self._trainers[frequencies]

    def train(self, recipe: Recipe) -> TrialResult:
        """Train a trial. Raises DivergenceError."""
        return run_trial(self.run, recipe, self.folds, self._fit_fold)

    def _fit_fold(
        self, recipe: Recipe, fold: Fold, evaluate: Evaluate, patience: int | None, on_epoch: OnEpoch
    ) -> FoldResult:
        trainer = self.trainer(recipe.frequencies)
        if self.run.fold_means is not None:
            trainer.data.set_inputs(fold_inputs(self.run, self.rows.x, fold))
        return trainer.run(recipe, fold, evaluate, patience, on_epoch)

    def refit(self, trial: TrialResult) -> Any:
        """The weights of the final fit. Raises DivergenceError."""
        trainer = self.trainer(trial.recipe.frequencies)
        if self.run.fold_means is not None:
            trainer.data.set_inputs(self.rows.x)
        return trainer.refit(trial, self.run.on_epoch)


def fit_ensemble(run: TrainingRun) -> FitResult:
    """Fit an ensemble with the settings of each trial, and calibrate the best trial."""
    trials = KerasTrials(run)
    from models import keras_nets

    report_trial_rows(run, trials.folds)
    best, trial_losses = ensemble.select_trial(run.recipe, trials.train, run.report, run.train_all)
    architecture = ensemble.configure(run.architecture, best.recipe)
    model = keras_nets.build(architecture)
    t = temperature.calibrate(run, best.outputs, trials.rows.y[best.rows])
    model.set_weights(ensemble.refit(run, best, trials.refit))
    last = model.layers[-2]
    last.set_weights([parameter / t for parameter in last.get_weights()])
    held_out = best.held_out if run.recipe.refit and run.task == "regression" else None
    result = _result(best.recipe, model, architecture, best.history, trial_losses)
    return replace(result, temperature=t, held_out=held_out, member_outputs=HeldOutOutputs(best.rows, best.outputs))


def _quiet_tensorflow() -> None:
    """Suppress the log messages that TensorFlow prints at start-up."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _result(
    recipe: Recipe, model: Any, architecture: Architecture, history: list[Epoch], trial_losses: dict[str, float]
) -> FitResult:
    """The trained Keras model without its optimizer, and the same network for NumPy if it can be exported."""
    from models import keras_export, keras_nets

    keras_nets.zero_unseen(model)
    model, parameters = _without_optimizer(model, architecture), int(model.count_params())
    try:
        network, reason = keras_export.export(model), "exported from Keras"
    except keras_export.CannotExport as error:
        network, reason = None, f"the NumPy network cannot express it: {error}"
    return FitResult(network, model, reason, history, 0.0, parameters, recipe, trial_losses)


def _without_optimizer(model: Any, architecture: Architecture) -> Any:
    """The same network without the state of its optimizer, which is twice as large; Keras's clone would keep it."""
    from models import keras_nets

    plain = keras_nets.build(architecture)
    plain.set_weights(model.get_weights())
    return plain
