"""Random initial weights, of a size at which neither signals nor gradients grow or vanish from layer to layer."""

from __future__ import annotations  # without it, np.random.Generator would load numpy.random, 2.7 MB per worker

from typing import Protocol

import numpy as np

from models.network.activations import Array


class Initializer(Protocol):
    def __call__(self, rng: np.random.Generator, inputs: int, units: int) -> Array: ...


def glorot(rng: np.random.Generator, inputs: int, units: int) -> Array:
    """Uniform with variance 2 / (inputs + units), for sigmoid and tanh. The default of a Keras Dense layer.

    Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html.
    """
    limit = np.sqrt(6 / (inputs + units))
    return rng.uniform(-limit, limit, (inputs, units))


def lecun(rng: np.random.Generator, inputs: int, units: int) -> Array:
    """Uniform with variance 1 / inputs: a weighted sum of inputs of size 1 again has size 1. LeCun et al. 1998."""
    limit = np.sqrt(3 / inputs)
    return rng.uniform(-limit, limit, (inputs, units))
