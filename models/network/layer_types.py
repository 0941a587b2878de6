"""The layers by the names that saved networks use, and the width of the input that a list of layers takes."""

from collections.abc import Callable, Sequence

from models.network.ensemble_layers import MemberDense, MemberMean, Members, SharedDense
from models.network.layers import Activation, Dense, Dropout, Layer
from models.network.normalization_layers import BatchNormalization, LayerNormalization
from models.network.tabular_layers import Embedding, Periodic, Scale, Tabular

LAYERS: dict[str, Callable[..., Layer]] = {
    layer.kind: layer
    for layer in (
        Dense,
        Activation,
        Dropout,
        BatchNormalization,
        LayerNormalization,
        Scale,
        Embedding,
        Tabular,
        Periodic,
        Members,
        SharedDense,
        MemberDense,
        MemberMean,
    )
}


def inputs_of(layers: Sequence[Layer]) -> int:
    """The number of input columns, from the first layer that has arrays; layers without arrays keep the width."""
    added = 0  # columns that a periodic layer appends
    for layer in layers:
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
