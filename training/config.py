"""Every option of a training run: typed, frozen, with its default and the reason for it."""

import csv
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from models.architecture import Task
from training.errors import UsageError


def option(default: Any, reason: str) -> Any:
    """A field with its default and what `--help` says about it."""
    return field(default=default, metadata={"help": reason})


@dataclass(frozen=True)
class DataOptions:
    """Which table, which column to predict, and what a person says about the columns."""

    data: str = option("", "a CSV (also gzipped) or Parquet file, or - for standard input")
    target: str | None = option(None, "the column to predict")
    name: str | None = option(None, "the model's name; made from the file's name when not given")
    task: Literal["regression", "classification"] | None = option(
        None,
        "inferred: an integer target with at most 20 values, each at least 5 times, text and true/false are classes",
    )
    drop: tuple[str, ...] = option((), "columns to leave out")
    categorical: tuple[str, ...] = option(
        (), "columns whose values are names, although they look like numbers or dates"
    )
    number: tuple[str, ...] = option((), "columns of numbers; cells that are none count as missing")
    date: tuple[str, ...] = option((), "columns of dates; cells that are none count as missing")
    na: tuple[str, ...] | None = option(
        None, "how missing cells are written, instead of NA, N/A, NaN, nan, null, NULL and ?; an empty cell always is"
    )
    delimiter: str | None = option(None, "between the cells of a CSV; recognised when not given")
    decimal: Literal[".", ","] = option(".", "the decimal mark of a CSV")
    schema: str | None = option(None, "a features.json, written by inspect --out and edited, that overrules inference")
    split: str | None = option(
        None, "random, time:COLUMN, group:COLUMN or column:COLUMN; random unless the data set has an official test part"
    )
    seed: int = option(42, "of the split")
    real_examples: bool = option(False, "keep real rows as examples, instead of rows mixed column by column")
    bundled: str | None = option(None, "the name of a bundled data set, when it is one")


HIDDEN = (128, 128, 128)  # of the ensemble
MEMBERS = 4
SMOOTHING = 0.03
SHOWN = 650_000  # rows in all epochs of the ensemble's training together
MOST_SHOWN = 3_000_000  # of a table so large that not even the fewest epochs keep to that
WAVES, EMBEDDED = 2048, 1024  # frequencies of all columns together, and the numbers made of them: few for each of many

Framework = Literal["keras", "numpy"]
NetworkName = Literal["ensemble", "plain"]
Activation = Literal["relu", "sigmoid", "tanh", "silu", "gelu", "elu", "leaky_relu", "softplus", "linear"]
OptimizerName = Literal["adam", "adamw", "sgd", "momentum", "rmsprop"]
LossName = Literal["mse", "mae", "huber", "crossentropy"]
ScheduleName = Literal["constant", "cosine", "exponential"]


@dataclass(frozen=True)
class Trial:
    """One of the ensemble's trainings, of which the validation part chooses."""

    dropout: float
    learning_rate: float = 0.014
    frequency_scale: float = 1.0
    frequencies: int = 16
    length: float = 1.0  # in epochs of the usual one


# The noisier a table, the more dropout it wants, and the less it gains from a high rate and many epochs.
TRIALS = (Trial(0.2, 0.004, 3.0, 32, 0.5), Trial(0.1), Trial(0.0))


@dataclass(frozen=True)
class FitOptions:
    """The network and how it is trained. What is None is decided by `recipe`, from the size of the data."""

    framework: Framework = option("keras", "keras, or numpy for the network of models/network, without TensorFlow")
    network: NetworkName | None = option(
        None,
        "ensemble: the recipe of docs/training.md; plain: a multilayer perceptron. ensemble, and plain with --hidden",
    )
    hidden: tuple[int, ...] | None = option(
        None,
        "units of each hidden layer, such as 64,32 (0 for none). Unless with --network ensemble, all that is not given "
        "is Keras's default: the tutorial's network",
    )
    activation: Activation | None = option(None, "of the hidden layers; relu, plain silu, with --hidden relu")
    dropout: float | None = option(
        None,
        "share of activations left out in training; the best of 0.2, 0.1 and 0 by the validation part, plain 0.1, "
        "with --hidden 0",
    )
    members: int | None = option(None, f"of the ensemble, which share their weights; {MEMBERS}")
    frequency_scale: float | None = option(
        None,
        "standard deviation of the ensemble's first frequencies; 1, and 3 where dropout 0.2 is tried",
    )
    batch_norm: bool = option(False, "plain: normalise each hidden layer over the batch")
    bins: int | None = option(
        None, "plain: edges per number at which the first layer can bend; 32, with --hidden 0: only scaled"
    )
    optimizer: OptimizerName | None = option(None, "adamw; with --hidden adam")
    loss: LossName | None = option(None, "mse for a regression, crossentropy for classes")
    learning_rate: float | None = option(
        None, "0.014, where dropout 0.2 is tried 0.004, plain 0.003; with --hidden 0.001 (sgd 0.01)"
    )
    schedule: ScheduleName | None = option(None, "of the learning rate; cosine with warm-up, with --hidden constant")
    weight_decay: float | None = option(None, "of adamw; 0.01, with --hidden 0.004")
    batch_size: int | None = option(None, "16 to 256 by the number of rows, with --hidden 32")
    epochs: int | None = option(
        None,
        "12 to 60 by the size of the table, half of them where dropout 0.2 is tried, fewer for more than 250,000 rows; "
        "with --hidden 10",
    )
    patience: int | None = option(
        None,
        "plain: stop after so many epochs without a better validation loss and take the best; 0: never; "
        "16, with --hidden 0",
    )
    class_weights: Literal["none", "balanced"] = option("none", "balanced: rare classes count as much as frequent ones")
    label_smoothing: float | None = option(
        None, f"share of the target given to the other classes; {SMOOTHING} for the ensemble, else 0"
    )
    clip_norm: float | None = option(None, "bound of the gradient's length; not bounded when not given")
    fit_seed: int = option(42, "of the first weights, the order of the batches and dropout")


@dataclass(frozen=True)
class Recipe:
    """A training run with nothing left to decide; stored with the model as `training.json`."""

    framework: Framework
    network: NetworkName
    hidden: tuple[int, ...]
    activation: Activation
    dropout: float
    trials: tuple[dict[str, Any], ...]  # what else than this is to be tried; the best by the validation loss is kept
    batch_norm: bool
    bins: int
    members: int  # 0 for the plain network
    adapters: bool  # whether members have scales and biases of their own in each layer
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
    fit_seed: int


def recipe(options: FitOptions, task: Task, rows: int, columns: int = 1) -> Recipe:
    """Decide what was not given. rows: of the training part; columns: of numbers.

    Raises UsageError where settings contradict each other.
    """
    check_ranges(options)
    ensemble = options.network == "ensemble" or (options.network is None and options.hidden is None)
    # Where somebody designs a network, nothing of ours gets in the way.
    own = options.hidden is not None and not ensemble
    by_rows = _power_of_two(rows // 32, 16, 256)
    loss: LossName = options.loss or ("mse" if task == "regression" else "crossentropy")
    optimizer: OptimizerName = options.optimizer or ("adam" if own else "adamw")
    check_combination(options, task, loss, optimizer, ensemble=ensemble)

    def pick(given: Any, of_ensemble: Any, of_plain: Any, of_own: Any) -> Any:
        return given if given is not None else of_ensemble if ensemble else of_own if own else of_plain

    waves = max(1, WAVES // max(columns, 1))
    epochs = pick(options.epochs, _epochs(rows, SHOWN), _epochs(rows, 600_000), 10)
    return Recipe(
        framework=options.framework,
        network="ensemble" if ensemble else "plain",
        hidden=tuple(units for units in pick(options.hidden, HIDDEN, (256, 256), ()) if units),
        activation=pick(options.activation, "relu", "silu", "relu"),
        dropout=pick(options.dropout, 0.1, 0.1, 0.0),
        trials=trials(options, epochs, waves) if ensemble and options.dropout is None else (),
        batch_norm=options.batch_norm,
        bins=pick(options.bins, 0, 32, 0),
        members=pick(options.members, MEMBERS, 0, 0),
        adapters=ensemble,
        frequency_scale=pick(options.frequency_scale, 1.0, 0.0, 0.0),
        frequencies=min(16, waves),
        embedding=min(8, max(1, EMBEDDED // max(columns, 1))),
        optimizer=optimizer,
        loss=loss,
        learning_rate=pick(options.learning_rate, 0.014, 0.003, 0.01 if optimizer in ("sgd", "momentum") else 0.001),
        schedule=pick(options.schedule, "cosine", "cosine", "constant"),
        weight_decay=pick(options.weight_decay, 0.01, 0.01, 0.004),
        batch_size=pick(options.batch_size, by_rows, by_rows, 32),
        epochs=epochs,
        patience=pick(options.patience, 0, 16, 0),
        class_weights=options.class_weights,
        label_smoothing=0.0 if task == "regression" else pick(options.label_smoothing, SMOOTHING, 0.0, 0.0),
        clip_norm=options.clip_norm,
        fit_seed=options.fit_seed,
    )


def trials(options: FitOptions, epochs: int, waves: int) -> tuple[dict[str, Any], ...]:
    """The settings of each of the ensemble's trainings, with so many waves a column at most; what was given stays."""
    given = {name for name, value in vars(options).items() if value is not None}
    found = []
    for trial in TRIALS:
        own = vars(trial) | {"epochs": max(1, round(trial.length * epochs))}
        own |= {"frequencies": min(trial.frequencies, waves)}
        found.append({name: own[name] for name in own.keys() - given - {"length"}})
    return tuple(found)


def _epochs(rows: int, shown: int) -> int:
    """So many that about `shown` rows are shown in all: from 12 to 60, fewer where a table is very large."""
    rows = max(rows, 1)
    return min(60, max(min(12, math.ceil(MOST_SHOWN / rows)), shown // rows))


def check_combination(
    options: FitOptions, task: Task, loss: LossName, optimizer: OptimizerName, *, ensemble: bool
) -> None:
    """Raises UsageError for settings that contradict each other, the task or the framework."""
    if (task == "regression") == (loss == "crossentropy"):
        raise UsageError(f"--loss {loss} does not fit a {task} task")
    if task == "regression" and options.class_weights != "none":
        raise UsageError(f"--class-weights {options.class_weights} does not fit a regression task")
    if task == "regression" and options.label_smoothing:
        raise UsageError("--label-smoothing does not fit a regression task")
    if options.framework == "numpy" and (loss == "mae" or optimizer == "rmsprop"):
        raise UsageError(f"--framework numpy has no {'loss mae' if loss == 'mae' else 'optimizer rmsprop'}")
    fixed = {"batch_norm": False, "bins": None, "optimizer": "adamw", "schedule": "cosine", "patience": None}
    others = {"members": None, "frequency_scale": None}
    for name, usual in (fixed if ensemble else others).items():
        value = getattr(options, name)
        if value not in (usual, None):
            flag = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
            raise UsageError(f"{flag} is for --network {'plain' if ensemble else 'ensemble'}")


def check_ranges(options: FitOptions) -> None:
    """Raises UsageError for a number that makes no sense."""
    check_seed("--fit-seed", options.fit_seed)
    at_least = {"epochs": 1, "batch_size": 1, "patience": 0, "bins": 0, "weight_decay": 0, "members": 1}
    for name, least in at_least.items():
        value = getattr(options, name)
        if value is not None and not least <= value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    for name in ("learning_rate", "clip_norm", "frequency_scale"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0, not {value:g}")
    for name in ("dropout", "label_smoothing"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be from 0 to below 1, not {value:g}")
    if min(options.hidden or (0,)) < 0:
        raise UsageError(f"--hidden must be numbers of units, not {min(options.hidden or (0,))}")


def check_seed(flag: str, seed: int) -> None:
    """Raises UsageError for a seed that scikit-learn or Keras would refuse."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"{flag} must be from 0 to {2**32 - 1}, not {seed}")


def _power_of_two(wanted: int, low: int, high: int) -> int:
    return min(high, max(low, 1 << max(wanted, 1).bit_length() - 1))


def names_in(text: str) -> tuple[str, ...]:
    """The parts of a list such as `id,notes`; a name that holds a comma stands in double quotes."""
    parts = next(csv.reader([text], skipinitialspace=True), [])
    return tuple(part.strip() for part in parts)
