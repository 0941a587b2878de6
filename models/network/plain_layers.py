"""The layer classes that compute one matrix from one matrix, by their names in saved networks."""

from collections.abc import Callable

from models.network.ensemble_layers import MemberDense, MemberMean, Members, SharedDense
from models.network.layers import Activation, Dense, Dropout, Layer
from models.network.normalization_layers import BatchNormalization, LayerNormalization
from models.network.tabular_layers import Embedding, Periodic, Scale, Tabular, Take

PLAIN_LAYERS: dict[str, Callable[..., Layer]] = {
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
        Take,
    )
}
