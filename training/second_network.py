"""Trains a second network that reads or learns something in addition, and keeps it if its validation loss is clearly
smaller."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from models.network.network import DivergenceError
from training.network_fit import NetworkFit
from training.paired_comparison import Gain, gain_of
from training.recipe import Recipe
from training.training_run import Report

FitSecond = Callable[[Recipe], NetworkFit]
"""Trains the second network with these settings."""


class Addition(NamedTuple):
    """The words for the addition in messages, and the keys of both networks in the losses of the trials."""

    subject: str  # as in "single days of 'day' are"
    pronoun: str  # as in "them"
    network: str  # as in "reads days as numbers"
    name: str
    other: str


class Losses(NamedTuple):
    """The validation losses of both networks, and the gain of the second network."""

    first: float
    second: float
    gain: Gain


def validation_losses(first: NetworkFit, second: NetworkFit) -> Losses:
    return Losses(first.validation_loss, second.validation_loss, gain_of(first, second))


def fit_second(
    trained: NetworkFit,
    fit: FitSecond,
    addition: Addition,
    report: Report,
    compare: Callable[[NetworkFit, NetworkFit], Losses] = validation_losses,
) -> NetworkFit:
    """Train a second network with the settings of the best trial. Returns it if the mean validation loss falls by more
    than its standard error, otherwise the first network."""
    try:
        second = fit(trained.settings)
    except DivergenceError as error:
        report(f"the network that {addition.network} diverged in epoch {error.epoch}")
        return trained
    losses = compare(trained, second)
    used = losses.gain.is_clear
    notice = (
        f"{addition.subject} {'used' if used else 'not used'}: validation loss {losses.second:.4f} with "
        f"{addition.pronoun}, {losses.first:.4f} without"
    )
    report(notice)
    chosen = second if used else trained
    tried = {
        **trained.fit.trial_losses,
        **{f"{addition.name}, {name}": loss for name, loss in second.fit.trial_losses.items()},
        addition.other: losses.first,
        addition.name: losses.second,
    }
    seconds = trained.fit.seconds + second.fit.seconds
    dataset = replace(chosen.dataset, notices=[*chosen.dataset.notices, notice])
    return replace(chosen, dataset=dataset, fit=replace(chosen.fit, trial_losses=tried, seconds=seconds))
