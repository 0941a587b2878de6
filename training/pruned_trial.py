"""Trains a trial of a search in another process, which prunes it as the process of the search would."""

import time
from dataclasses import replace
from typing import Any, NamedTuple

from models.architecture import Epoch
from models.network.network import DivergenceError
from training.fit import fit_run
from training.training_run import TrainingRun

MIN_PERCENT = 50  # no trial is pruned before this percentage of its epochs
FinishedTrials = list[Any]
"""Optuna's completed trials."""


class PrunedTrial(NamedTuple):
    """The result of a trial. loss: None if it was pruned or diverged.

    losses: the validation loss after each epoch, by the percentage of all epochs.
    """

    losses: dict[int, float]
    loss: float | None
    diverged: bool = False


class _PrunedError(Exception):
    """The trial is pruned, so its training stops."""


def new_pruner() -> Any:
    """A pruner that stops a trial if half of the earlier trials were better after the same fraction of the epochs."""
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=MIN_PERCENT)


def percent_of(epoch: Epoch) -> int:
    return round(100 * epoch.number / epoch.of)


def train_pruned(run: TrainingRun, finished: FinishedTrials, seconds: float) -> PrunedTrial:
    """Train; prune if half of the finished trials were better at the same point, or when the time is up.

    seconds: the remaining time of the search.
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
