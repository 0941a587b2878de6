"""The architecture of a network, for both frameworks: `keras_nets.build` and `network.build` build the same network."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Task = Literal["regression", "binary", "multiclass"]
TABLE_DEVIATION = 0.3  # standard deviation of the initial weights in an ensemble's embedding tables
Link = Literal["linear", "sigmoid", "softmax"]


@dataclass(frozen=True)
class Architecture:
    """A multilayer perceptron over one matrix of shape (rows, numbers + len(categories)).

    The first `numbers` columns pass unchanged. Column `numbers + j` contains the level indices of category j, which are
    looked up in a table of shape `categories[j]` = (levels + 1, units). The last row of the table contains zeros, for
    levels never seen in training. Outputs are logits (classes) or standardised values (regression).

    With `scales` the first columns also get periodic features: `scales[j]` is the standard deviation of the initial
    frequencies of column j; each column has `frequencies` frequencies and `embedding` features. With `members` the
    network is an ensemble of that many networks, which share all matrices except the last. Its output is the mean of
    the members' values, or of their probabilities after a sigmoid or softmax, depending on `link`. Each member scales
    the input row by its own factors or, with `adapters`, the input and output of every shared matrix.
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
    def embedded_width(self) -> int:
        """The width of a row with embedded categories."""
        return self.numbers + sum(units for _, units in self.categories)


class Epoch(NamedTuple):
    """The record of one epoch of training, in either framework. Losses are means over rows."""

    number: int
    of: int
    loss: float
    validation_loss: float | None
    learning_rate: float
    seconds: float
