"""Checks the options of the network: ranges of numbers, and options that contradict each other."""

import math

from models.architecture import Task
from training.config import FitOptions, LossName, OptimizerName, check_seed
from training.errors import UsageError

PLAIN_ONLY = {"batch_norm": False, "bins": None, "optimizer": "adamw", "schedule": "cosine", "patience": None}
ENSEMBLE_ONLY = {"members": None, "frequency_scale": None, "time": None}


def check_combination(
    options: FitOptions, task: Task, loss: LossName, optimizer: OptimizerName, *, ensemble: bool
) -> None:
    """Raises UsageError for options that contradict each other, the task or the framework."""
    if (task == "regression") == (loss == "crossentropy"):
        raise UsageError(f"--loss {loss} does not fit a {task} task")
    if task == "regression" and options.class_weights != "none":
        raise UsageError(f"--class-weights {options.class_weights} does not fit a regression task")
    if task == "regression" and options.label_smoothing:
        raise UsageError("--label-smoothing does not fit a regression task")
    if options.framework == "numpy" and (loss == "mae" or optimizer == "rmsprop"):
        raise UsageError(f"--framework numpy has no {'loss mae' if loss == 'mae' else 'optimizer rmsprop'}")
    if options.final in ("validation", "all") and not ensemble:
        raise UsageError(f"--final {options.final} is for --network ensemble")
    for name, default in (PLAIN_ONLY if ensemble else ENSEMBLE_ONLY).items():
        value = getattr(options, name)
        if value not in (default, None):
            shown = f" {value:g}" if isinstance(value, float) else f" {value}"
            flag = f"--{name.replace('_', '-')}" + ("" if value is True else shown)
            raise UsageError(f"{flag} is for --network {'plain' if ensemble else 'ensemble'}")


def check_ranges(options: FitOptions) -> None:
    """Raises UsageError for a number outside its range."""
    check_seed("--fit-seed", options.fit_seed)
    at_least = {"epochs": 1, "batch_size": 1, "patience": 0, "bins": 0, "weight_decay": 0, "members": 1}
    for name, least in at_least.items():
        value = getattr(options, name)
        if value is not None and not least <= value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    for name in ("learning_rate", "clip_norm", "frequency_scale", "time"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0, not {value:g}")
    for name in ("dropout", "label_smoothing"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be from 0 to below 1, not {value:g}")
    if min(options.hidden or (0,)) < 0:
        raise UsageError(f"--hidden must be numbers of units, not {min(options.hidden or (0,))}")
