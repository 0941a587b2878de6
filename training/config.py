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


Framework = Literal["keras", "numpy"]
Activation = Literal["relu", "sigmoid", "tanh", "silu", "gelu", "elu", "leaky_relu", "softplus", "linear"]
OptimizerName = Literal["adam", "adamw", "sgd", "momentum", "rmsprop"]
LossName = Literal["mse", "mae", "huber", "crossentropy"]
ScheduleName = Literal["constant", "cosine", "exponential"]


@dataclass(frozen=True)
class FitOptions:
    """The network and how it is trained. What is None is decided by `recipe`, from the size of the data."""

    framework: Framework = option("keras", "keras, or numpy for the network of models/network, without TensorFlow")
    hidden: tuple[int, ...] | None = option(
        None,
        "units of each hidden layer, such as 64,32 (0 for none). With it, all that is not given is Keras's default: "
        "the tutorial's network. Without it: the recipe of docs/training.md",
    )
    activation: Activation | None = option(None, "of the hidden layers; recipe silu, else relu")
    dropout: float | None = option(None, "share of activations left out in training; recipe 0.1, else 0")
    batch_norm: bool = option(False, "normalise each hidden layer over the batch")
    bins: int | None = option(
        None, "edges per number at which the first layer can bend; recipe 32, else 0: only scaled"
    )
    optimizer: OptimizerName | None = option(None, "recipe adamw, else adam")
    loss: LossName | None = option(None, "mse for a regression, crossentropy for classes")
    learning_rate: float | None = option(None, "recipe 0.003, else 0.001 (sgd 0.01)")
    schedule: ScheduleName | None = option(
        None, "of the learning rate; recipe cosine with one epoch of warm-up, else constant"
    )
    weight_decay: float | None = option(None, "of adamw; recipe 0.01, else 0.004")
    batch_size: int | None = option(None, "recipe 16 to 256 by the number of rows, else 32")
    epochs: int | None = option(None, "recipe 12 to 60 by the number of rows, else 10")
    patience: int | None = option(
        None,
        "stop after so many epochs without a better validation loss and take the best; 0: never; recipe 16, else 0",
    )
    class_weights: Literal["none", "balanced"] = option("none", "balanced: rare classes count as much as frequent ones")
    label_smoothing: float = option(0.0, "share of the target given to the other classes")
    clip_norm: float | None = option(None, "bound of the gradient's length; not bounded when not given")
    fit_seed: int = option(42, "of the first weights, the order of the batches and dropout")


@dataclass(frozen=True)
class Recipe:
    """A training run with nothing left to decide; stored with the model as `training.json`."""

    framework: Framework
    hidden: tuple[int, ...]
    activation: Activation
    dropout: float
    batch_norm: bool
    bins: int
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


def recipe(options: FitOptions, task: Task, rows: int) -> Recipe:
    """Decide what was not given. rows: of the training part. Raises UsageError where settings contradict each other."""
    check_ranges(options)
    own = options.hidden is not None  # somebody designs a network; then nothing of ours gets in the way
    loss: LossName = options.loss or ("mse" if task == "regression" else "crossentropy")
    if (task == "regression") == (loss == "crossentropy"):
        raise UsageError(f"--loss {loss} does not fit a {task} task")
    optimizer: OptimizerName = options.optimizer or ("adam" if own else "adamw")
    if task == "regression" and options.class_weights != "none":
        raise UsageError(f"--class-weights {options.class_weights} does not fit a regression task")
    if task == "regression" and options.label_smoothing:
        raise UsageError("--label-smoothing does not fit a regression task")
    if options.framework == "numpy" and (loss == "mae" or optimizer == "rmsprop"):
        raise UsageError(f"--framework numpy has no {'loss mae' if loss == 'mae' else 'optimizer rmsprop'}")

    def pick(given: Any, ours: Any, plain: Any) -> Any:
        return given if given is not None else plain if own else ours

    return Recipe(
        framework=options.framework,
        hidden=tuple(units for units in pick(options.hidden, (256, 256), ()) if units),
        activation=pick(options.activation, "silu", "relu"),
        dropout=pick(options.dropout, 0.1, 0.0),
        batch_norm=options.batch_norm,
        bins=pick(options.bins, 32, 0),
        optimizer=optimizer,
        loss=loss,
        learning_rate=pick(options.learning_rate, 0.003, 0.01 if optimizer in ("sgd", "momentum") else 0.001),
        schedule=pick(options.schedule, "cosine", "constant"),
        weight_decay=pick(options.weight_decay, 0.01, 0.004),
        batch_size=pick(options.batch_size, _power_of_two(rows // 32, 16, 256), 32),
        epochs=pick(options.epochs, min(60, max(12, 600_000 // max(rows, 1))), 10),
        patience=pick(options.patience, 16, 0),
        class_weights=options.class_weights,
        label_smoothing=options.label_smoothing,
        clip_norm=options.clip_norm,
        fit_seed=options.fit_seed,
    )


def check_ranges(options: FitOptions) -> None:
    """Raises UsageError for a number that makes no sense."""
    check_seed("--fit-seed", options.fit_seed)
    at_least = {"epochs": 1, "batch_size": 1, "patience": 0, "bins": 0, "weight_decay": 0}
    for name, least in at_least.items():
        value = getattr(options, name)
        if value is not None and not least <= value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    for name in ("learning_rate", "clip_norm"):
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
