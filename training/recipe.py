"""Decides the recipe of a training run from the options and the size of the data."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from models.architecture import Task
from training.config import (
    MEMBERS,
    SMOOTHING,
    ActivationName,
    FitOptions,
    Framework,
    LossName,
    NetworkName,
    OptimizerName,
    ScheduleName,
)
from training.option_checks import check_combination, check_ranges

HIDDEN = (128, 128, 128)  # units of the hidden layers of the ensemble
EXAMPLES = 650_000  # rows times epochs in the training of the ensemble
PLAIN_EXAMPLES = 600_000
FOLDS = 5  # number of folds that evaluate the trials of a small table
MAX_FOLD_ROWS, MAX_FOLD_CLASSES = 3000, 20  # maximum rows and classes of a small table
BETA_2, FOLDED_BETA_2 = 0.99, 0.95
"""The decays of AdamW's second moment: for large and for small tables."""
# Options that do not change the default network.
NON_NETWORK_OPTIONS = ("framework", "class_weights", "final", "fit_seed", "time")
MAX_EXAMPLES = 3_000_000  # maximum for large tables, for which even 12 epochs exceed EXAMPLES
FREQUENCIES = 2048  # total over all columns: with many columns, each has fewer frequencies
EMBEDDED = 1024  # total number of periodic features of all columns


@dataclass(frozen=True)
class Trial:
    """The settings of one trial of the ensemble; the trial with the smallest validation loss is selected."""

    dropout: float
    learning_rate: float = 0.014
    frequency_scale: float = 1.0
    frequencies: int = 16
    length: float = 1.0  # number of epochs relative to the recipe's
    weight_decay: float = 0.01


# The noisier a table, the more dropout it needs, and the less it gains from a high rate and many epochs.
TRIALS = (
    Trial(0.3, 0.004, length=0.2, weight_decay=0.1),
    Trial(0.2, 0.004, 3.0, 32, 0.5),
    Trial(0.1),
    Trial(0.0),
)


@dataclass(frozen=True)
class Recipe:
    """All settings of a training run; stored with the model in `training.json`."""

    framework: Framework
    network: NetworkName | Literal["linear", "constant"]
    hidden: tuple[int, ...]
    activation: ActivationName
    dropout: float
    trials: tuple[
        dict[str, Any], ...
    ]  # settings of each trial, which replace these; the smallest validation loss decides
    batch_norm: bool
    bins: int
    members: int  # 0 for the plain network
    adapters: bool  # whether members have their own scales and biases in each layer
    frequency_scale: float
    frequencies: int
    embedding: int
    optimizer: OptimizerName
    loss: LossName
    learning_rate: float
    schedule: ScheduleName
    weight_decay: float
    batch_size: int
    epochs: int
    patience: int
    class_weights: Literal["none", "balanced"]
    label_smoothing: float
    clip_norm: float | None
    refit: bool  # whether the served network is trained again on train and validation rows
    folds: int  # number of folds that evaluate a trial; 1 is the validation set
    beta_2: float  # decay of the second moment of the ensemble's AdamW
    fit_seed: int
    seconds: float | None = None  # time for all trials and the final fit; None if only `trials` limits them
    searched: tuple[str, ...] = ()  # settings that differ between further trials
    compare_linear: bool = False  # whether a linear model is served if its validation loss is not larger
    penalty: float | None = None  # penalty of a linear model's squared weights
    all_rows: bool = False  # whether the served network is trained again on all rows, including the test rows
    linear_part: tuple[float, float] | None = None  # weights of the network and of a linear model in the outputs
    log_target: bool = False  # whether the model learns the logarithm of the target

    @property
    def keeps_best_epoch(self) -> bool:
        """Whether the weights of the epoch with the smallest validation loss are used, not those of the last epoch."""
        return self.network == "ensemble" or self.patience > 0

    def as_linear(self, network: Literal["linear", "constant"], penalty: float) -> Self:
        """The recipe of the linear or constant model that is served instead of the network."""
        return replace(
            self,
            network=network,
            penalty=penalty if network == "linear" else None,
            hidden=(),
            activation="linear",
            trials=(),
            members=0,
            adapters=False,
            dropout=0.0,
            epochs=1,
        )


def decide_recipe(options: FitOptions, task: Task, rows: int, columns: int = 1, fold_rows: int = 0) -> Recipe:
    """Decide the settings that the options do not set. rows: number of train rows; columns: number of numeric columns.

    fold_rows: number of train and validation rows if folds may evaluate the trials, else 0.

    Raises UsageError if options contradict each other.
    """
    check_ranges(options)
    ensemble = options.network == "ensemble" or (options.network is None and options.hidden is None)
    # With --hidden the user designs the network, and Keras's defaults apply instead of our recipe.
    custom = options.hidden is not None and not ensemble
    batch_size = _power_of_two(rows // 32, 16, 256)
    loss: LossName = options.loss or ("mse" if task == "regression" else "crossentropy")
    optimizer: OptimizerName = options.optimizer or ("adam" if custom else "adamw")
    check_combination(options, task, loss, optimizer, ensemble=ensemble)

    def pick(supplied: Any, for_ensemble: Any, for_plain: Any, for_custom: Any) -> Any:
        if supplied is not None:
            return supplied
        return for_ensemble if ensemble else for_custom if custom else for_plain

    folded = ensemble and options.final != "train" and FOLDS**2 <= fold_rows <= MAX_FOLD_ROWS
    max_frequencies = max(1, FREQUENCIES // max(columns, 1))
    epochs = pick(options.epochs, _epochs(rows, EXAMPLES), _epochs(rows, PLAIN_EXAMPLES), 10)
    return Recipe(
        framework=options.framework,
        network="ensemble" if ensemble else "plain",
        hidden=tuple(units for units in pick(options.hidden, HIDDEN, (256, 256), ()) if units),
        activation=pick(options.activation, "relu", "silu", "relu"),
        dropout=pick(options.dropout, 0.1, 0.1, 0.0),
        trials=_trials(options, epochs, max_frequencies) if ensemble and options.dropout is None else (),
        batch_norm=options.batch_norm,
        bins=pick(options.bins, 0, 32, 0),
        members=pick(options.members, MEMBERS, 0, 0),
        adapters=ensemble,
        frequency_scale=pick(options.frequency_scale, 1.0, 0.0, 0.0),
        frequencies=min(16, max_frequencies),
        embedding=min(8, max(1, EMBEDDED // max(columns, 1))),
        optimizer=optimizer,
        loss=loss,
        learning_rate=pick(options.learning_rate, 0.014, 0.003, 0.01 if optimizer in ("sgd", "momentum") else 0.001),
        schedule=pick(options.schedule, "cosine", "cosine", "constant"),
        weight_decay=pick(options.weight_decay, 0.01, 0.01, 0.004),
        batch_size=pick(options.batch_size, batch_size, batch_size, 32),
        epochs=epochs,
        patience=pick(options.patience, 0, 16, 0),
        class_weights=options.class_weights,
        label_smoothing=0.0 if task == "regression" else pick(options.label_smoothing, SMOOTHING, 0.0, 0.0),
        clip_norm=options.clip_norm,
        refit=ensemble and options.final != "train",
        folds=FOLDS if folded else 1,
        beta_2=FOLDED_BETA_2 if folded else BETA_2,
        fit_seed=options.fit_seed,
        seconds=options.time,
        searched=_searched_settings(options) if ensemble and options.time is not None else (),
        compare_linear=ensemble and _has_default_network(options),
        all_rows=options.final == "all",
    )


def _searched_settings(options: FitOptions) -> tuple[str, ...]:
    """Return the names of the settings of a trial that the options do not supply."""
    names = {"epochs" if name == "length" else name for name in vars(TRIALS[0])}
    return tuple(sorted(name for name in names if getattr(options, name, None) is None))


def _has_default_network(options: FitOptions) -> bool:
    """Whether all options of the network have their defaults."""
    return replace(options, **{name: getattr(FitOptions(), name) for name in NON_NETWORK_OPTIONS}) == FitOptions()


def _trials(options: FitOptions, epochs: int, max_frequencies: int) -> tuple[dict[str, Any], ...]:
    """Return the settings of each trial of the ensemble, without settings that the options supply."""
    supplied = {name for name, value in vars(options).items() if value is not None}
    trials = []
    for trial in TRIALS:
        settings = vars(trial) | {"epochs": max(1, round(trial.length * epochs))}
        settings |= {"frequencies": min(trial.frequencies, max_frequencies)}
        trials.append({name: settings[name] for name in settings.keys() - supplied - {"length"}})
    return tuple(trials)


def _epochs(rows: int, examples: int) -> int:
    """Return the number of epochs in which the network is trained on about `examples` rows: from 12 to 60, fewer for a
    very large table."""
    rows = max(rows, 1)
    return min(60, max(min(12, math.ceil(MAX_EXAMPLES / rows)), examples // rows))


def _power_of_two(wanted: int, low: int, high: int) -> int:
    return min(high, max(low, 1 << max(wanted, 1).bit_length() - 1))
