"""Trains a second network that reads further inputs, and keeps it if its validation loss is clearly smaller."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from models.network.network import DivergenceError
from training.network_fit import NetworkFit
from training.paired_comparison import gain_of
from training.recipe import Recipe
from training.training_run import Report

FitSecond = Callable[[Recipe], NetworkFit]
"""Trains the second network with these settings."""


class FurtherInputs(NamedTuple):
    """The words for the further inputs in messages, and the keys of both networks in the losses of the trials."""

    found: str  # as in "single days of 'day'"
    reads: str  # as in "days as numbers"
    name: str
    other: str


def fit_second(trained: NetworkFit, fit: FitSecond, inputs: FurtherInputs, report: Report) -> NetworkFit:
    """Train a second network with the settings of the best trial. Returns it if the mean validation loss falls by more
    than its standard error, otherwise the first network."""
    settings = replace(trained.fit.recipe, trials=(), searched=(), seconds=None)
    try:
        second = fit(settings)
    except DivergenceError as error:
        report(f"the network that reads {inputs.reads} diverged in epoch {error.epoch}")
        return trained
    seconds = trained.fit.seconds + second.fit.seconds
    losses = trained.validation_loss, second.validation_loss
    used = gain_of(trained, second).is_clear
    notice = "{} are {}: validation loss {:.4f} with them, {:.4f} without".format(
        inputs.found, "used" if used else "not used", losses[1], losses[0]
    )
    report(notice)
    chosen = second if used else trained
    tried = {**trained.fit.trial_losses, **({inputs.other: losses[0]} if used else {inputs.name: losses[1]})}
    notices = [*chosen.dataset.notices, notice]
    fitted = replace(chosen.fit, trial_losses=tried, seconds=seconds)
    return replace(chosen, dataset=replace(chosen.dataset, notices=notices), fit=fitted)
