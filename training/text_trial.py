"""Decides whether the text columns of a table are used: compares a network with them and a network without them.

Both have the same validation rows and folds, so their losses are compared row by row. The texts are used if the mean
loss falls by more than its standard error.
"""

from collections.abc import Callable
from dataclasses import replace

from models.network.network import DivergenceError
from training import text_columns
from training.column_options import list_names
from training.dataset import Dataset
from training.network_fit import NetworkFit
from training.paired_comparison import gain_of
from training.recipe import Recipe
from training.training_run import Report

NAME = "with text"  # key in the losses of the trials
Fit = Callable[[Dataset, Recipe], NetworkFit]
MANY_CLASSES = "free text, which is only supported for a regression or for two classes"
NOT_COMPARED = "free text, which only the default recipe tries (--text uses it)"
NO_GAIN = "free text that does not lower the validation loss by more than its standard error"


def fit_with_texts(dataset: Dataset, recipe: Recipe, tune: float | None, fit: Fit, report: Report) -> NetworkFit:
    """Train a network on the data set, with its text columns if they lower the validation loss.

    fit: trains a network on a data set.
    """
    if not dataset.candidates:
        return fit(dataset, recipe)
    reason = MANY_CLASSES if dataset.schema.task == "multiclass" else NOT_COMPARED
    if dataset.schema.task == "multiclass" or recipe.network != "ensemble" or tune is not None:
        return fit(_with_notice(text_columns.without_candidates(dataset, reason), dataset, reason), recipe)
    if recipe.seconds is not None:
        recipe = replace(recipe, seconds=recipe.seconds / 2)
    names = list_names([candidate.feature.name for candidate in dataset.candidates])
    report(f"training a network without text ({names}), then a network with it")
    plain = fit(dataset, recipe)
    try:
        texted = fit(text_columns.with_candidates(dataset), recipe)
    except DivergenceError as error:
        report(f"the network with text diverged in epoch {error.epoch}")
        return replace(
            plain, dataset=_with_notice(text_columns.without_candidates(plain.dataset, NO_GAIN), dataset, NO_GAIN)
        )
    gain = gain_of(plain, texted)
    losses = plain.validation_loss, texted.validation_loss
    described = "validation loss {:.4f} with it, {:.4f} without".format(*reversed(losses))
    seconds = plain.fit.seconds + texted.fit.seconds
    if gain.is_clear:
        notice = f"text is used ({names}): {described}"
        tried = {"without text": losses[0]}
        chosen, used = texted, texted.dataset
    else:
        tried = {NAME: losses[1]}
        notice = f"text is left out ({names}): {described}; --text uses it"
        chosen, used = plain, text_columns.without_candidates(plain.dataset, NO_GAIN)
    report(notice)
    fitted = replace(chosen.fit, trial_losses=chosen.fit.trial_losses | tried, seconds=seconds)
    return replace(chosen, dataset=replace(used, notices=[*used.notices, notice]), fit=fitted)


def _with_notice(dataset: Dataset, before: Dataset, reason: str) -> Dataset:
    names = list_names([candidate.feature.name for candidate in before.candidates])
    return replace(dataset, notices=[*dataset.notices, f"left out: {names} ({reason})"])
