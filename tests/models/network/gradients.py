"""The measure of every gradient here: central finite differences, compared by the norm rule of "Equal means"."""

from collections.abc import Callable

import numpy as np

from models.network.activations import Array
from models.network.layers import Layer

# A difference quotient is itself wrong by its rounding (about 1e-16 · f / step) and by the kinks that its step reaches
# over: a small gradient wants the long step, one near a kink the short one. A wrong gradient agrees with none of them.
STEPS = (1e-5, 1e-4, 1e-6)


def check_gradient(analytic: Array, f: Callable[[], float], at: Array) -> None:
    """analytic is df/d_at: ‖a - n‖ / (‖a‖ + ‖n‖) ≤ 1e-6; two gradients that are nothing but rounding are equal.

    `at` may have further columns, of which `analytic` says nothing.
    """
    told = []
    for step in STEPS:
        numerical = numeric(f, at, step)[..., : analytic.shape[-1]]
        size = float(np.linalg.norm(analytic) + np.linalg.norm(numerical))
        difference = float(np.linalg.norm(analytic - numerical))
        if difference <= 1e-6 * size or size < 1e-8:
            return
        told.append(f"step {step:g}, {difference / size:.2e}: {analytic} against {numerical}")
    raise AssertionError("\n".join(told))


def numeric(f: Callable[[], float], at: Array, step: float) -> Array:
    """df/d_at, (8·(f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12h with h = step / 2, wrong by O(h⁴); `at` is put back."""
    gradient = np.zeros_like(at)
    half = step / 2
    for i in np.ndindex(at.shape):
        kept = at[i]
        values = []
        for offset in (half, -half, step, -step):
            at[i] = kept + offset
            values.append(f())
        at[i] = kept
        near_above, near_below, above, below = values
        gradient[i] = (8 * (near_above - near_below) - (above - below)) / (12 * half)
    return gradient


def check_layer(layer: Layer, x: Array, training: bool = False, inputs: bool = True) -> None:
    """All gradients of a layer under the loss Σ c·y with fixed random c, every forward pass with one dropout mask."""
    rng = np.random.default_rng(1)
    c = rng.normal(size=layer.forward(x, training, np.random.default_rng(7)).shape)

    def loss() -> float:
        return float((c * layer.forward(x, training, np.random.default_rng(7))).sum())

    loss()
    d_x = layer.backward(c)
    for name, parameter in layer.parameters.items():
        check_gradient(layer.gradients[name].copy(), loss, parameter)
    if inputs:
        check_gradient(d_x, loss, x)
