"""Checks gradients by central finite differences."""

from collections.abc import Callable

import numpy as np

from models.network.activations import Array
from models.network.layers import Layer

# A difference quotient has its own errors: rounding, about 1e-16 · f / step, and kinks within the step. A small
# gradient needs the long step, and a gradient near a kink needs the short step. A wrong gradient agrees with none of
# the steps.
STEPS = (1e-5, 1e-4, 1e-6)
ROUNDING = 2 * np.finfo(np.float64).eps  # relative rounding error of f, which is a sum of many rounded terms


def check_gradient(analytic: Array, f: Callable[[], float], at: Array) -> None:
    """Assert that ‖a - n‖ ≤ 1e-6 · (‖a‖ + ‖n‖) + the rounding error of n for at least one of the steps.

    a: `analytic`, df/d_at. n: the difference quotients. Gradients below 1e-8 count as equal: both are rounding errors.
    `at` may have further columns that `analytic` does not cover.
    """
    errors = []
    for step in STEPS:
        numerical = numeric(f, at, step)[..., : analytic.shape[-1]]
        size = float(np.linalg.norm(analytic) + np.linalg.norm(numerical))
        difference = float(np.linalg.norm(analytic - numerical))
        rounding = ROUNDING * abs(f()) / step * float(np.sqrt(analytic.size))
        if difference <= 1e-6 * size + rounding or size < 1e-8:
            return
        errors.append(f"step {step:g}, {difference / size:.2e}: {analytic} against {numerical}")
    raise AssertionError("\n".join(errors))


def numeric(f: Callable[[], float], at: Array, step: float) -> Array:
    """df/d_at as (8·(f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12h with h = step / 2; its error is O(h⁴).

    The function restores the values of `at`.
    """
    gradient = np.zeros_like(at)
    half = step / 2
    for i in np.ndindex(at.shape):
        original = at[i]
        values = []
        for offset in (half, -half, step, -step):
            at[i] = original + offset
            values.append(f())
        at[i] = original
        near_above, near_below, above, below = values
        gradient[i] = (8 * (near_above - near_below) - (above - below)) / (12 * half)
    return gradient


def check_layer(layer: Layer, x: Array, training: bool = False, inputs: bool = True) -> None:
    """Check all gradients of a layer for the loss Σ c·y with random, fixed c; all passes use the same dropout mask."""
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
