"""The steps of the inference network: for each layer a function that uses its float32 arrays.

A step receives and returns a matrix. With ensemble members, each member of each row is a row of that matrix, (rows ·
members, units), so that one product computes all members.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from models.network.activations import MIN_ZEROS, ZERO, ActivationFunction, Array, ReLU
from models.network.ensemble_layers import MemberDense, MemberMean, Members, SharedDense, member_mean
from models.network.layers import Activation, Layer
from models.network.normalization_layers import LayerNormalization
from models.network.tabular_layers import Scale

RELU = ReLU().forward
Step = Callable[[Array], Array]
"""Computes one layer. It may overwrite its argument, except the first step, whose argument is the caller's array."""
# Arrays that are added to rows have an axis for the rows: for one row both arrays then have the same shape, and NumPy
# adds these for a third of the fixed cost.


def dense_step(W: Array, b: Array) -> Step:
    W, b = float32(W), float32(b[np.newaxis])
    if W.shape[1] == 1:  # for one row, NumPy's addition in place would cost twice as much
        return lambda x: x.dot(W) + b

    def dense(x: Array) -> Array:
        y: Array = x.dot(W)  # the same as x @ W, for half of the fixed cost
        y += b
        return y

    return dense


def take_step(columns: Sequence[int]) -> Step:
    places = np.array(columns, dtype=np.intp)
    return lambda x: x.take(places, axis=1)


def members_step(layer: Members) -> Step:
    r = float32(layer.r)
    return lambda x: (x[:, np.newaxis, :] * r).reshape(-1, r.shape[1])  # (rows, d) -> (rows · members, d)


def shared_dense_step(layer: SharedDense) -> Step:
    """(rows · members, inputs) -> (rows · members, units)."""
    W, r, s, b = (float32(array) for array in layer.parameters.values())
    (k, units), inputs = b.shape, len(W)
    r, s, b = r[np.newaxis], s[np.newaxis], b[np.newaxis]
    with_r, with_s = bool((r != 1).any()), bool((s != 1).any())

    def shared_dense(x: Array) -> Array:
        if with_r:
            by_row = x.reshape(-1, k, inputs)
            by_row *= r
        y: Array = x.dot(W)
        by_row = y.reshape(-1, k, units)
        if with_s:
            by_row *= s
        by_row += b
        return y

    return shared_dense


def member_dense_step(layer: MemberDense, mean: MemberMean | None) -> Step:
    """A dense layer for each member and, if it is the last layer, the mean of the members' outputs."""
    k, inputs, units = layer.W.shape
    if mean is not None and mean.link == "linear":  # the mean of products is a product
        mean_dense = dense_step(layer.W.reshape(k * inputs, units) / k, layer.b.mean(axis=0))
        return lambda x: mean_dense(x.reshape(-1, k * inputs))
    W, b = float32(layer.W), float32(layer.b[np.newaxis])

    def member_dense(x: Array) -> Array:
        rows = len(x) // k
        by_member = x.reshape(rows, k, inputs).swapaxes(0, 1)
        z: Array = np.matmul(by_member, W).swapaxes(0, 1)  # (members, rows, inputs) @ (members, inputs, units)
        z += b
        if mean is None:
            return z.reshape(-1, units)
        if mean.link == "sigmoid" and z.size == k:
            return mean_probability(z)
        return member_mean(z, mean.link, axis=1)

    return member_dense


def mean_probability(logits: Array) -> Array:
    """`member_mean` of a single row's logits (1, members, 1), in plain Python, which is faster than NumPy here."""
    yes = no = 0.0
    for logit in logits.ravel().tolist():
        e = math.exp(math.copysign(700.0, -logit) if abs(logit) > 700.0 else -logit)  # exp would overflow
        p = 1.0 / (1.0 + e)
        yes += p
        no += e * p
    return np.full((1, 1), math.log(yes / no), dtype=np.float32)


def in_place_step(layer: Layer) -> Step:
    """The step of a layer that overwrites its input with an output of the same shape."""
    if isinstance(layer, Activation):
        return activation_step(layer.function)
    if isinstance(layer, Scale):
        return scale_step(layer)
    if isinstance(layer, LayerNormalization):
        return layer_normalization_step(layer)
    raise TypeError(f"cannot run a {layer.kind} layer")


def activation_step(function: ActivationFunction) -> Step:
    forward = function.forward
    return relu_step if isinstance(function, ReLU) else lambda x: forward(x, x)


def relu_step(x: Array) -> Array:
    """`ReLU` without its checks if there are few numbers, as for one row."""
    return RELU(x, x) if x.size >= MIN_ZEROS else np.maximum(x, ZERO, out=x)


def scale_step(layer: Scale) -> Step:
    centre, factor, shift = (float32(array) for array in layer.state.values())

    def scale(x: Array) -> Array:
        x -= centre
        x *= factor
        x += shift
        return x

    return scale


def layer_normalization_step(layer: LayerNormalization) -> Step:
    gamma, beta, epsilon = float32(layer.parameters["gamma"]), float32(layer.parameters["beta"]), layer.epsilon
    units = len(gamma)

    def normalise(x: Array) -> Array:
        x -= x.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", x, x)[:, np.newaxis] / units  # (rows, 1)
        x *= 1 / np.sqrt(variance + epsilon)
        x *= gamma
        x += beta
        return x

    return normalise


def float32(array: Array) -> Array:
    """A contiguous copy, read-only because several threads read it."""
    fixed: Array = np.ascontiguousarray(array, dtype=np.float32)
    if fixed is array:
        fixed = fixed.copy()
    fixed.setflags(write=False)
    return fixed
