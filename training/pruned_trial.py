"""A trial of a search that another process trains, and prunes as the process of the search would."""

import time
from dataclasses import replace
from typing import Any, NamedTuple

from models.architecture import Epoch
from models.network.network import DivergenceError
from training.fit import fit_run
from training.training_run import TrainingRun

MIN_PERCENT = 50  # no trial is pruned before this percentage of its epochs
FinishedTrials = list[Any]
"""Completed trials of Optuna."""


class PrunedTrial(NamedTuple):
    """losses: the validation loss after each epoch, by its percentage of all epochs. loss: None if it did not end."""

    losses: dict[int, float]
    loss: float | None
    diverged: bool = False


class _PrunedError(Exception):
    """The training is not continued."""


def new_pruner() -> Any:
    """Prunes a trial if half of the earlier ones were better after the same share of the epochs."""
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=MIN_PERCENT)


def percent_of(epoch: Epoch) -> int:
    return round(100 * epoch.number / epoch.of)


def train_pruned(run: TrainingRun, finished: FinishedTrials, seconds: float) -> PrunedTrial:
    """Train; pruned if half of the finished trials were better at the same point, or when the time is up.

    seconds: left of the search, from now on.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(pruner=new_pruner())
    study.add_trials(finished)
    trial, losses, end = study.ask(), dict[int, float](), time.monotonic() + seconds

    def on_epoch(epoch: Epoch) -> None:
        assert epoch.validation_loss is not None
        losses[percent_of(epoch)] = epoch.validation_loss
        trial.report(epoch.validation_loss, percent_of(epoch))
        if epoch.number < epoch.of and finished and (time.monotonic() > end or trial.should_prune()):
            raise _PrunedError

    try:
        fitted = fit_run(replace(run, on_epoch=on_epoch))
    except _PrunedError:
        return PrunedTrial(losses, None)
    except DivergenceError:
        return PrunedTrial(losses, None, diverged=True)
    return PrunedTrial(losses, fitted.kept_epoch.validation_loss)
