"""All layer classes by their names in saved networks, and the input width of a list of layers."""

from collections.abc import Callable, Sequence

from models.network.branches import Branches
from models.network.ensemble_layers import Members, SharedDense
from models.network.layers import Layer
from models.network.plain_layers import PLAIN_LAYERS
from models.network.tabular_layers import Embedding, Periodic, Tabular

LAYERS: dict[str, Callable[..., Layer]] = PLAIN_LAYERS | {Branches.kind: Branches.from_options}


def input_width(layers: Sequence[Layer]) -> int:
    """The number of input columns, from the first layer that has arrays; layers without arrays do not change the
    width."""
    added = 0  # columns that a periodic layer appends
    for layer in layers:
        if isinstance(layer, Branches):
            return layer.inputs
        if isinstance(layer, Tabular):
            return layer.numbers + len(layer.embeddings)
        if isinstance(layer, Embedding):
            return 1
        if isinstance(layer, Periodic):
            added += layer.parameters["b"].size
        elif isinstance(layer, Members | SharedDense):
            return int(layer.r.shape[1]) - added
        else:
            for array in (*layer.parameters.values(), *layer.state.values()):
                return len(array) - added
    raise ValueError("expected at least one layer that has weights")
