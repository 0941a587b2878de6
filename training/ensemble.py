"""Trains the ensemble in both frameworks: its trials, its schedule and its optimizer.

Each member is fitted to the target independently, so each member's output counts as a separate row. The validation loss
is that of the mean over the members, which is the served output.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from models.architecture import Architecture
from models.network import optimizers
from models.network.network import DivergenceError
from models.text import counted
from training.further_trials import TimeBudget, describe_settings, draw_settings
from training.recipe import Recipe
from training.training_run import Report, TrainingRun, TrialResult, best_epoch

BETA_1, EPSILON = 0.9, 1e-8  # parameters of AdamW
TrainTrial = Callable[[Recipe], TrialResult]
"""Trains with the settings of one trial. Raises DivergenceError."""
TrainTrials = Callable[[Sequence[Recipe]], Iterator[TrialResult | DivergenceError]]


def select_trial(
    recipe: Recipe, train: TrainTrial, report: Report, train_all: TrainTrials | None = None
) -> tuple[TrialResult, dict[str, float]]:
    """Train with the settings of each trial. Returns the result with the smallest validation loss, and all losses.

    train_all: trains the trials of the recipe at once; without it they are trained one after the other. Raises
    DivergenceError if all of them diverge.
    """
    results: list[TrialResult] = []
    errors: list[DivergenceError] = []
    budget = TimeBudget(recipe)
    recipes = [replace(recipe, trials=(), **settings) for settings in recipe.trials or ({},)]
    trained = train_all(recipes) if train_all else _train_sequentially(recipes, train)
    for trial, result in zip(recipes, trained, strict=True):
        if isinstance(result, TrialResult):
            results.append(result)
        else:
            errors.append(result)
            report(f"the training with dropout {trial.dropout:g} diverged in epoch {result.epoch}")
        budget.end_trial()
    if not results:
        raise errors[0]
    best = min(results, key=lambda result: result.loss)
    losses = {f"dropout {result.recipe.dropout:g}": result.loss for result in results}
    if len(results) > 1:
        compared = ", ".join(f"validation {loss:.4f} with {name}" for name, loss in losses.items())
        report(f"{compared}: {best.recipe.dropout:g} is selected")
    if recipe.searched:
        best, further = _run_further_trials(recipe, best, train, budget, report)
        losses |= further
    return best, losses


def _train_sequentially(recipes: Sequence[Recipe], train: TrainTrial) -> Iterator[TrialResult | DivergenceError]:
    for recipe in recipes:
        try:
            yield train(recipe)
        except DivergenceError as error:
            yield error


def _run_further_trials(
    recipe: Recipe, best: TrialResult, train: TrainTrial, budget: TimeBudget, report: Report
) -> tuple[TrialResult, dict[str, float]]:
    """Run further trials while the budget allows. Returns the best trial of all, and the losses of further trials."""
    rng, losses, number = np.random.default_rng(recipe.fit_seed), dict[str, float](), 0
    while budget.allows_trial():
        settings = draw_settings(recipe, best.recipe, number, rng)
        number += 1
        name = f"further trial {number}: {describe_settings(settings)}"
        try:
            result = train(replace(recipe, trials=(), **settings))
        except DivergenceError as error:
            report(f"{name}: diverged in epoch {error.epoch}")
        else:
            losses[name] = result.loss
            report(f"{name}: validation {result.loss:.4f}" + (", the best so far" if result.loss < best.loss else ""))
            best = min(best, result, key=lambda one: one.loss)
        budget.end_trial()
    report(f"{counted(number, 'further trial')} within {recipe.seconds:g} s; smallest validation loss {best.loss:.4f}")
    return best, losses


def refit(run: TrainingRun, trial: TrialResult, fit: Callable[[TrialResult], Any]) -> Any:
    """Return the served weights: trained again on train and validation rows if the recipe requires it, else those of
    the trial.

    `fit` trains with the trial's recipe up to the number of its best epoch.
    """
    if not run.recipe.refit:
        return trial.weights
    epochs = counted(best_epoch(trial.history).number, "epoch")
    run.report(f"final fit: {epochs} on train and validation rows")
    try:
        return fit(trial)
    except DivergenceError as error:
        run.report(f"the final fit diverged in epoch {error.epoch}: the weights of the trial are used")
        return trial.weights


def configure(architecture: Architecture, recipe: Recipe) -> Architecture:
    """The same architecture with the recipe's dropout and frequencies."""
    scales = (recipe.frequency_scale,) * len(architecture.scales)
    return replace(architecture, dropout=recipe.dropout, scales=scales, frequencies=recipe.frequencies)


def schedule(recipe: Recipe, steps: int) -> optimizers.Cosine:
    """The learning rate rises in the first twentieth of all steps, at most one epoch, then falls to 0 as a cosine.
    steps: the number of steps per epoch.
    """
    total = steps * recipe.epochs
    return optimizers.Cosine(recipe.learning_rate, total, warmup=max(1, min(steps, total // 20)))


def optimizer(recipe: Recipe, steps: int) -> optimizers.AdamW:
    """The optimizer of the NumPy network, the same as in the compiled step of `ensemble_keras`. steps: the number of
    steps per epoch."""
    return optimizers.AdamW(
        schedule(recipe, steps), recipe.weight_decay, BETA_1, recipe.beta_2, EPSILON, clip_norm=recipe.clip_norm
    )
