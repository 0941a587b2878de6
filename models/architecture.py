"""The shape of a network, said once for both frameworks: `keras_nets.build` and `network.build` make the same of it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Task = Literal["regression", "binary", "multiclass"]
TABLE_DEVIATION = 0.3  # of the first numbers in an ensemble's tables of categories
Link = Literal["linear", "sigmoid", "softmax"]


@dataclass(frozen=True)
class Architecture:
    """A multilayer perceptron over one matrix of shape (rows, numbers + len(categories)).

    The first `numbers` columns enter as they are. Column `numbers + j` holds whole numbers, the index of a level of
    category j, and is looked up in a table of shape `categories[j]` = (levels + 1, units); the last row stands for
    levels never seen in training and holds zeros. Outputs are logits (classes) or standardised values (regression).

    With `scales` the first columns are also told in waves: `scales[j]` is the standard deviation of the first
    frequencies of column j, each column has `frequencies` of them, and they become `embedding` further numbers. With
    `members` so many networks share all matrices but the last, and answer with their mean, taken where `link` says: of
    the values, or of the probabilities that a sigmoid or a softmax makes of them. Each has its own view of a row, or
    with `adapters` its own scales on both sides of every shared matrix.
    """

    numbers: int
    categories: tuple[tuple[int, int], ...] = ()
    hidden: tuple[int, ...] = (256, 128)
    activation: str = "relu"
    dropout: float = 0.0
    batch_normalization: bool = False
    outputs: int = 1
    scales: tuple[float, ...] = ()
    frequencies: int = 16
    embedding: int = 8
    members: int = 0
    adapters: bool = False
    link: Link = "linear"

    @property
    def looked_up(self) -> int:
        """How many numbers stand in a row after its categories were looked up."""
        return self.numbers + sum(units for _, units in self.categories)


class Epoch(NamedTuple):
    """What a training run tells after each epoch, whatever the framework. Losses are means over rows."""

    number: int
    of: int
    loss: float
    validation_loss: float | None
    learning_rate: float
    seconds: float
