"""The measure of every gradient here: central finite differences, compared by the norm rule of "Equal means"."""

from collections.abc import Callable

import numpy as np

from models.network.activations import Array
from models.network.layers import Layer


def numeric(f: Callable[[], float], at: Array, step: float = 1e-5) -> Array:
    """df/d_at by central differences; `at` is changed in place and put back."""
    gradient = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        kept = at[i]
        at[i] = kept + step
        above = f()
        at[i] = kept - step
        below = f()
        at[i] = kept
        gradient[i] = (above - below) / (2 * step)
    return gradient


def assert_same_gradient(analytic: Array, numerical: Array) -> None:
    """‖a - n‖ / (‖a‖ + ‖n‖) ≤ 1e-6; two gradients that are nothing but rounding are equal."""
    size = float(np.linalg.norm(analytic) + np.linalg.norm(numerical))
    difference = float(np.linalg.norm(analytic - numerical))
    assert difference <= 1e-6 * size or size < 1e-8, f"{difference / size:.2e}: {analytic} against {numerical}"


def check_layer(layer: Layer, x: Array, training: bool = False, inputs: bool = True) -> None:
    """All gradients of a layer under the loss Σ c·y with fixed random c, every forward pass with one dropout mask."""
    rng = np.random.default_rng(1)
    c = rng.normal(size=layer.forward(x, training, np.random.default_rng(7)).shape)

    def loss() -> float:
        return float((c * layer.forward(x, training, np.random.default_rng(7))).sum())

    loss()
    d_x = layer.backward(c)
    for name, parameter in layer.parameters.items():
        assert_same_gradient(layer.gradients[name].copy(), numeric(loss, parameter))
    if inputs:
        assert_same_gradient(d_x, numeric(loss, x))
