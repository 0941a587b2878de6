"""The options of a training run: typed, frozen, each with its default and its help text."""

import csv
from dataclasses import dataclass, field
from typing import Any, Literal

from training.errors import UsageError

MEMBERS = 4  # networks of the ensemble
SMOOTHING = 0.03  # label smoothing of the ensemble

Framework = Literal["keras", "numpy"]
NetworkName = Literal["ensemble", "plain"]
ActivationName = Literal["relu", "sigmoid", "tanh", "silu", "gelu", "elu", "leaky_relu", "softplus", "linear"]
OptimizerName = Literal["adam", "adamw", "sgd", "momentum", "rmsprop"]
LossName = Literal["mse", "mae", "huber", "crossentropy"]
ScheduleName = Literal["constant", "cosine", "exponential"]


def option(default: Any, help_text: str) -> Any:
    """A field with its default and its text in `--help`."""
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class DataOptions:
    """The table, the column to predict, and options that override the inference of the columns."""

    data: str = option(
        "",
        "a CSV, JSON, Excel (.xlsx), Parquet, Feather or Arrow file, also compressed, or - for standard input; several "
        "files (A,B), a pattern, a folder or a URL of them; duckdb:FILE?QUERY or sqlite:FILE?QUERY; or the files of "
        "captured rows that have feedback, such as 'capture/*.parquet'",
    )
    target: str | None = option(None, "the column to predict")
    name: str | None = option(None, "the model's name (default: derived from the file name)")
    task: Literal["regression", "classification"] | None = option(
        None,
        "default: classification for text, true/false, and integers of at most 20 values that each occur at least 5 "
        "times",
    )
    drop: tuple[str, ...] = option((), "columns that are not used")
    categorical: tuple[str, ...] = option(
        (), "columns whose values are names, although they look like numbers or dates"
    )
    number: tuple[str, ...] = option((), "columns of numbers; all other cells count as missing")
    date: tuple[str, ...] = option((), "columns of dates; all other cells count as missing")
    text: tuple[str, ...] = option(
        (), "columns of free text that the model uses, whether or not the validation loss is smaller with them"
    )
    na: tuple[str, ...] | None = option(
        None,
        "the texts of missing cells, in place of NA, N/A, n/a, #N/A, <NA>, NaN, nan, null, NULL and ?, and of words "
        "such as - in columns of numbers and dates; an empty cell is always missing",
    )
    delimiter: str | None = option(None, "the character between the cells of a CSV (default: detected)")
    encoding: str | None = option(None, "the text encoding of a CSV or JSON file, such as cp1252 (default: detected)")
    skip_rows: int = option(0, "number of lines above the header of a CSV or an Excel sheet, such as a title")
    comment: str | None = option(None, "the text at the beginning of comment lines in a CSV, such as #")
    decimal: Literal[".", ","] | None = option(
        None, "the decimal mark of numbers in text (default: detected; required if two are possible)"
    )
    thousands: Literal[",", ".", " ", "'"] | None = option(
        None, "the thousands separator of numbers in text (default: detected; required if two are possible)"
    )
    date_format: str | None = option(
        None,
        "the format of dates: a strptime format such as %d.%m.%Y, or iso, epoch_s or epoch_ms (default: detected)",
    )
    schema: str | None = option(None, "a features.json, written by inspect --out and edited, that overrides inference")
    split: str | None = option(
        None,
        "random, hash, time:COLUMN, group:COLUMN or column:COLUMN (default: hash, which keeps a row in the same set in "
        "every training run, for tables of your own with at least 1000 rows, else random; bundled tables have "
        "fixed sets)",
    )
    seed: int = option(42, "the seed of the split")
    rows: str | None = option(
        None,
        "the number of rows to use, drawn at random with --seed, or all, even if they exceed --memory (default: all "
        "that fit into it)",
    )
    memory: int | None = option(
        None,
        "the memory for the rows of a large table, such as 2GB, in addition to that for a small table (default: half "
        "of the free memory)",
    )
    real_examples: bool = option(False, "use real rows as examples, instead of rows mixed column by column")
    bundled: str | None = option(None, "the name of the bundled data set, if the table is one")


@dataclass(frozen=True)
class FitOptions:
    """The network and its training. `recipe.decide_recipe` decides each option that is None by the size of the data."""

    framework: Framework = option("keras", "keras, or numpy for the network of models/network, without TensorFlow")
    network: NetworkName | None = option(
        None,
        "ensemble: the recipe of docs/training.md; plain: a multilayer perceptron (default: ensemble; with --hidden: "
        "plain)",
    )
    hidden: tuple[int, ...] | None = option(
        None,
        "units of each hidden layer, such as 64,32 (0 for none). All options that are not set then have Keras's "
        "defaults, except with --network ensemble",
    )
    activation: ActivationName | None = option(
        None, "the activation of the hidden layers (default: relu; plain: silu; with --hidden: relu)"
    )
    dropout: float | None = option(
        None,
        "fraction of activations dropped in training (default: the best of 0.3, 0.2, 0.1 and 0 on the validation set; "
        "plain: 0.1; with --hidden: 0)",
    )
    members: int | None = option(None, f"number of ensemble members, which share most weights (default: {MEMBERS})")
    frequency_scale: float | None = option(
        None,
        "standard deviation of the ensemble's initial frequencies (default: 1; 3 in the trial with dropout 0.2)",
    )
    batch_norm: bool = option(False, "plain: normalise each hidden layer over the batch")
    bins: int | None = option(
        None,
        "plain: bin edges per number column, at which the first layer can bend (default: 32; with --hidden: 0, which "
        "only scales the numbers)",
    )
    optimizer: OptimizerName | None = option(None, "the optimizer (default: adamw; with --hidden: adam)")
    loss: LossName | None = option(None, "the loss function (default: mse for a regression, crossentropy for classes)")
    learning_rate: float | None = option(
        None,
        "the learning rate (default: 0.014, or 0.004 in the trials with dropout 0.3 and 0.2; plain: 0.003; with "
        "--hidden: 0.001, sgd 0.01)",
    )
    schedule: ScheduleName | None = option(
        None, "the schedule of the learning rate (default: cosine with warm-up; with --hidden: constant)"
    )
    weight_decay: float | None = option(
        None, "the weight decay of adamw (default: 0.01, or 0.1 in the trial with dropout 0.3; with --hidden: 0.004)"
    )
    batch_size: int | None = option(
        None, "number of rows in a batch (default: 16 to 256, depending on the number of rows; with --hidden: 32)"
    )
    epochs: int | None = option(
        None,
        "number of epochs (default: 12 to 60, depending on the size of the table; half as many in the trial with "
        "dropout 0.2, a fifth in the trial with dropout 0.3; fewer for more than 250,000 rows; with --hidden: 10)",
    )
    patience: int | None = option(
        None,
        "plain: stop after this number of epochs without a smaller validation loss and use the best epoch; 0: never "
        "stop (default: 16; with --hidden: 0)",
    )
    class_weights: Literal["none", "balanced"] = option("none", "balanced: rare classes count as much as frequent ones")
    label_smoothing: float | None = option(
        None,
        f"probability that the targets assign to the other classes (default: {SMOOTHING} for the ensemble, else 0)",
    )
    final: Literal["train", "validation", "all"] | None = option(
        None,
        "the rows that the served network is trained on: train, validation (train and validation rows), or all, after "
        "its quality was measured on the test rows (default: validation; plain: train)",
    )
    time: float | None = option(
        None,
        "use about this time (5m, 90s, 1h30m) for further trials of the default recipe and the final fit; the smallest "
        "validation loss of all trials decides",
    )
    clip_norm: float | None = option(None, "maximum norm of the gradient (default: none)")
    fit_seed: int = option(42, "the seed of the initial weights, the order of the batches and dropout")


def check_seed(flag: str, seed: int) -> None:
    """Raises UsageError for a seed that scikit-learn or Keras would refuse."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"{flag} must be from 0 to {2**32 - 1}, not {seed}")


def parse_names(text: str) -> tuple[str, ...]:
    """The names in a list such as `id,notes`; a name that contains a comma is in double quotes."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return tuple(name.strip() for name in names)
