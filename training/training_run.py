"""The arguments and the result of training a network."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.architecture import Architecture, Epoch, Task
from models.network.activations import Array
from models.network.network import DivergenceError, Network
from training.encoded_rows import EncodedRows, joined
from training.level_columns import FoldMeans
from training.recipe import Recipe
from training.streaming.stored_matrix import Matrix

RowNumbers = npt.NDArray[np.intp]
OnEpoch = Callable[[Epoch], None]
Report = Callable[[str], None]
OnRows = Callable[[int, int], None]
"""Receives, during an epoch, the number of processed rows and the number of all rows."""


@dataclass(frozen=True)
class TrainingRun:
    """The arguments of a training run. report: receives messages about decisions.

    further: rows that only the final fit uses, in addition to the train and validation rows. fold_means: fits the level
    means of each fold, if the encoded rows have level means.
    """

    recipe: Recipe
    architecture: Architecture
    task: Task
    train: EncodedRows
    validation: EncodedRows
    class_weights: list[float] | None
    on_epoch: OnEpoch
    report: Report
    on_rows: OnRows = lambda done, total: None
    further: EncodedRows | None = None
    trainer: "TrialTrainer | None" = None  # None: this process trains one trial after the other
    fold_means: FoldMeans | None = None

    @property
    def final_rows(self) -> EncodedRows:
        """The pooled rows, then the further rows."""
        parts = [self.train, self.validation]
        return joined(parts if self.further is None else [*parts, self.further])

    @property
    def train_all(self) -> Callable[[Sequence[Recipe]], Iterator["TrialResult | DivergenceError"]] | None:
        """A function that trains several trials at once, or None without a trainer."""
        return None if self.trainer is None else partial(self.trainer.train_trials, self)

    @property
    def pooled(self) -> EncodedRows:
        """The train rows, then the validation rows."""
        return joined([self.train, self.validation])


class HeldOutOutputs(NamedTuple):
    """Outputs (rows, outputs) for train and validation rows, of networks that were not trained on them.

    rows: numbers of pooled rows, see `TrainingRun.pooled`.
    """

    rows: RowNumbers
    outputs: Matrix


class TrialResult(NamedTuple):
    """The training of one trial: its recipe, its history and the weights of its best epoch, in the framework's format.

    With several folds the losses are means over folds, the validation loss is computed on all rows, and the weights
    come from the first fold. outputs (rows, members, outputs): the outputs of the best epoch for the validation rows.
    rows: the numbers of these rows.
    """

    recipe: Recipe
    history: list[Epoch]
    weights: object
    outputs: Array
    rows: RowNumbers

    @property
    def held_out(self) -> HeldOutOutputs:
        """The mean of the members' outputs, for a regression."""
        return HeldOutOutputs(self.rows, self.outputs.mean(axis=1))

    @property
    def loss(self) -> float:
        """The smallest validation loss, which belongs to the weights."""
        return best_epoch(self.history).validation_loss or 0.0


class TrialTrainer(Protocol):
    """Trains several trials at once, on other machines."""

    def train_trials(self, run: TrainingRun, recipes: Sequence[Recipe]) -> Iterator[TrialResult | DivergenceError]:
        """The result of each recipe, in order, the same as without the trainer."""
        ...


@dataclass(frozen=True)
class FitResult:
    """A trained network and its history. network: None if only TensorFlow can run the Keras model."""

    network: Network | None
    keras: Any
    reason: str
    history: list[Epoch]
    seconds: float
    parameters: int
    recipe: Recipe
    trial_losses: dict[str, float]  # the validation loss of each trial
    temperature: float = 1.0  # the divisor of the logits
    held_out: HeldOutOutputs | None = None  # for a regression whose network was also trained on validation rows
    member_outputs: HeldOutOutputs | None = None  # (rows, members, outputs) of an ensemble, before the temperature
    mixed_loss: float | None = None  # the validation loss with a linear part, if the network has one

    @property
    def kept_epoch(self) -> Epoch:
        """The epoch whose weights are used: the best epoch if the recipe keeps it, otherwise the last epoch."""
        return best_epoch(self.history) if self.recipe.keeps_best_epoch else self.history[-1]

    @property
    def validation_loss(self) -> float | None:
        """The validation loss of the kept epoch, or of the network with a linear part."""
        return self.kept_epoch.validation_loss if self.mixed_loss is None else self.mixed_loss


def best_epoch(history: list[Epoch]) -> Epoch:
    """Return the first epoch with the smallest validation loss."""
    return min(history, key=lambda epoch: math.inf if epoch.validation_loss is None else epoch.validation_loss)
