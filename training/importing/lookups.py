"""Converts lookups of text and integers to tables, from the code of a level to the layer's output for the level."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.feature import Scalar
from models.text import layer_title
from training.errors import UsageError
from training.importing.encoded_columns import UNKNOWN, UNKNOWN_NUMBER, Array, check_table_size
from training.importing.layer_graph import LayerGraph, Value


@dataclass(frozen=True)
class Vocabulary:
    """The vocabulary of a column's lookups. closed: whether a lookup has no output for other values."""

    levels: list[Scalar]
    closed: bool


def column_vocabulary(graph: LayerGraph, number: int) -> Vocabulary:
    """The values in the vocabularies of an input's lookups, in order. Raises UsageError."""
    levels: dict[Scalar, None] = {}
    closed = False
    for user in graph.users(Value(-1 - number)):
        layer = graph.calls[user].layer
        _check_lookup(layer)
        known = [_level(token) for token in layer.get_vocabulary(include_special_tokens=False)]
        levels |= dict.fromkeys(known)
        closed = closed or not layer.num_oov_indices
    if not levels:
        raise UsageError(f"input {graph.inputs[number].name!r}: its lookup has an empty vocabulary")
    return Vocabulary(list(levels), closed)


def lookup_table(layer: Any, levels: Sequence[Scalar], width: int | None) -> Array:
    """(levels + 1, columns): the output of the layer for each level, in the last row for unseen levels.

    width: the width of a row, None for a layer whose input has no column axis. A layer without an output for unseen
    levels has zeros in the last row; the schema rejects such levels.
    """
    columns = 1 if layer.output_mode == "int" else int(layer.vocabulary_size())
    check_table_size(layer_title(layer), len(levels) + 1, columns)
    text = type(layer).__name__ == "StringLookup"
    tokens: list[Scalar] = [str(level) for level in levels] if text else list(levels)
    if layer.num_oov_indices:
        tokens.append(UNKNOWN if text else UNKNOWN_NUMBER)
    column = np.array(tokens, dtype=object if text else np.int64)
    import tensorflow as tf

    values = tf.constant(column if width is None else column[:, np.newaxis])
    try:
        table = np.asarray(layer(values)).astype(np.float32).reshape(len(tokens), -1)
    except (ValueError, tf.errors.OpError) as error:
        raise UsageError(f"{layer_title(layer)} cannot look up one of its own values: {error}") from error
    return table if layer.num_oov_indices else np.concatenate([table, np.zeros((1, table.shape[1]), np.float32)])


def _check_lookup(layer: Any) -> None:
    if layer.invert:
        raise UsageError(f"{layer_title(layer)} turns numbers into text, which no layer after it can read")
    if layer.num_oov_indices > 1:
        raise UsageError(
            f"{layer_title(layer)} spreads unknown values over {layer.num_oov_indices} numbers by a hash, which the "
            "schema cannot describe: set num_oov_indices to 1 or 0"
        )
    if layer.output_mode == "tf_idf":
        raise UsageError(
            f"{layer_title(layer)} weights words of a text (tf_idf), which a schema of columns cannot describe"
        )


def _level(token: Any) -> Scalar:
    value: Scalar = token.item() if isinstance(token, np.generic) else token
    return value
