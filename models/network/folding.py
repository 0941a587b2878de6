"""Folding: reduces a network that is no longer trained to fewer layers, which compute the same function.

Dropout is removed. Batch normalization and scaling, (x - m)·a + c, are merged into the weights of a neighbouring dense
layer. The scales of ensemble members are moved through a ReLU to a layer where they cost no time. All of this is
computed in float64; the inference network rounds once.
"""

from collections.abc import Sequence

import numpy as np

from models.network.activations import ReLU
from models.network.ensemble_layers import MemberDense, Members, SharedDense
from models.network.layer_types import LAYERS
from models.network.layers import Activation, Dense, Dropout, Layer
from models.network.normalization_layers import BatchNormalization
from models.network.tabular_layers import Scale

MIN_DIVISOR = 1e-3  # smaller scales are not used as divisors
MAX_CENTRE = 8.0  # in scaled units; with a larger centre x·a and m·a would be large, rounded, and then nearly cancel


def fold(layers: Sequence[Layer]) -> list[Layer]:
    """The remaining layers, in float64. Outside of training they compute the same as `layers`."""
    folded: list[Layer] = []
    for layer in layers:
        current = without_training(layer)
        while current is not None and folded and (one := merge_layers(folded[-1], current)) is not None:
            folded.pop()
            current = one
        if current is not None:
            folded.append(current)
    return move_scales(folded)


def without_training(layer: Layer) -> Layer | None:
    """The layer that replaces a layer outside of training: None if it has no effect, a Scale for batch
    normalization."""
    arrays = {name: np.asarray(a, dtype=np.float64) for name, a in {**layer.parameters, **layer.state}.items()}
    if isinstance(layer, Dropout) or (isinstance(layer, Activation) and layer.options()["function"] == "linear"):
        return None
    if isinstance(layer, BatchNormalization):
        a = arrays["gamma"] / np.sqrt(arrays["moving_variance"] + layer.epsilon)
        return Scale(arrays["moving_mean"], a, arrays["beta"])
    return LAYERS[layer.kind](**arrays, **layer.options())


def merge_layers(first: Layer, second: Layer) -> Layer | None:
    """One layer that computes both layers, or None if there is no such layer."""
    if isinstance(first, Dense) and isinstance(second, Scale):
        m, a, c = second.state.values()
        return Dense(first.W * a, (first.b - m) * a + c)  # (x·W + b - m)·a + c
    if isinstance(first, Scale) and isinstance(second, Dense):
        m, a, c = first.state.values()
        if np.abs(m * a).max(initial=0) <= MAX_CENTRE:
            return Dense(a[:, np.newaxis] * second.W, (c - m * a) @ second.W + second.b)  # ((x - m)·a + c)·W + b
    if isinstance(first, Members) and isinstance(second, Dense):
        ones = np.ones((len(first.r), 1))
        return SharedDense(second.W, first.r, ones * np.ones_like(second.b), ones * second.b)  # (x·rₖ)·W + b
    return None


def move_scales(layers: Sequence[Layer]) -> list[Layer]:
    """Move the scales r and s of ensemble members through ReLUs, since relu(a·x) = a·relu(x) for a > 0. Signs are not
    moved.

    The input block multiplies r and s of the first shared layer into one matrix, so |r| of the next layer is moved into
    it. |s| of every later shared layer is moved into its successor.
    """
    moved = list(layers)
    before_members = True
    for i, layer in enumerate(layers[:-2]):
        shared, activation, successor = moved[i : i + 3]
        if not isinstance(shared, SharedDense):
            before_members = before_members and not isinstance(layer, Members)
            continue
        if isinstance(activation, Activation) and isinstance(activation.function, ReLU):
            if before_members and isinstance(successor, SharedDense):
                moved[i], moved[i + 2] = move_r(shared, successor)
            elif not before_members and isinstance(successor, SharedDense | MemberDense):
                moved[i], moved[i + 2] = move_s(shared, successor)
        before_members = False
    return moved


def move_r(shared: SharedDense, successor: SharedDense) -> tuple[SharedDense, SharedDense]:
    W, r, s, b = shared.parameters.values()
    a = np.abs(successor.r)
    return SharedDense(W, r, s * a, b * a), SharedDense(**{**successor.parameters, "r": np.sign(successor.r)})


def move_s(shared: SharedDense, successor: SharedDense | MemberDense) -> tuple[Layer, Layer]:
    W, r, s, b = shared.parameters.values()
    a = np.abs(s)
    if not a.min() > MIN_DIVISOR:
        return shared, successor
    without_s = SharedDense(W, r, np.sign(s), b / a)
    if isinstance(successor, SharedDense):
        return without_s, SharedDense(**{**successor.parameters, "r": successor.r * a})
    return without_s, MemberDense(successor.W * a[:, :, np.newaxis], successor.b)
