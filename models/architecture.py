"""The shape of a network, said once for both frameworks: `keras_nets.build` and `network.build` make the same of it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Task = Literal["regression", "binary", "multiclass"]


@dataclass(frozen=True)
class Architecture:
    """A multilayer perceptron over one matrix of shape (rows, numbers + len(categories)).

    The first `numbers` columns enter as they are. Column `numbers + j` holds whole numbers, the index of a level of
    category j, and is looked up in a table of shape `categories[j]` = (levels + 1, units); the last row stands for
    levels never seen in training and holds zeros. Outputs are logits (classes) or standardised values (regression).
    """

    numbers: int
    categories: tuple[tuple[int, int], ...] = ()
    hidden: tuple[int, ...] = (256, 128)
    activation: str = "relu"
    dropout: float = 0.0
    batch_normalization: bool = False
    outputs: int = 1


class Epoch(NamedTuple):
    """What a training run tells after each epoch, whatever the framework. Losses are means over rows."""

    number: int
    of: int
    loss: float
    validation_loss: float | None
    learning_rate: float
    seconds: float
