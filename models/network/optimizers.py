"""Optimizers: updates of parameters from gradients; learning-rate schedules; gradient clipping."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from models.network.activations import Array

Schedule = Callable[[int], float]
"""The learning rate of an update; updates are counted from 0."""


@dataclass(frozen=True)
class Constant:
    rate: float

    def __call__(self, update: int) -> float:
        return self.rate


@dataclass(frozen=True)
class Cosine:
    """The rate increases linearly to `rate` over `warmup` updates, then decreases along half a cosine to `end` at
    `updates`."""

    rate: float
    updates: int
    warmup: int = 0
    end: float = 0.0

    def __call__(self, update: int) -> float:
        if update < self.warmup:
            return self.rate * (update + 1) / self.warmup
        done = min(1.0, (update - self.warmup) / max(1, self.updates - self.warmup))
        return self.end + (self.rate - self.end) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Exponential:
    """`rate · factor^(update / every)`. With `stairs` the exponent is rounded down, so the rate decreases in steps."""

    rate: float
    factor: float
    every: int
    stairs: bool = False

    def __call__(self, update: int) -> float:
        exponent = update // self.every if self.stairs else update / self.every
        return self.rate * self.factor**exponent


class Optimizer:
    """Updates parameters in place, and stores the moments of each parameter by its name.

    `clip_norm` limits the norm of the gradient of all parameters together; its direction is unchanged.
    """

    def __init__(self, learning_rate: float | Schedule, clip_norm: float | None = None) -> None:
        self.schedule = learning_rate if callable(learning_rate) else Constant(learning_rate)
        self.clip_norm = clip_norm
        self.updates = 0
        self._moments_by_name: dict[str, tuple[Array, ...]] = {}

    @property
    def learning_rate(self) -> float:
        """The rate of the next update."""
        return self.schedule(self.updates)

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        if self.clip_norm is not None:
            clip_by_global_norm(gradients, self.clip_norm)
        rate = self.learning_rate
        self.updates += 1
        for name, parameter in parameters.items():
            self._update(name, parameter, gradients[name], rate)

    def _update(self, name: str, parameter: Array, gradient: Array, rate: float) -> None:
        raise NotImplementedError

    def _moments(self, name: str, parameter: Array, count: int) -> tuple[Array, ...]:
        if name not in self._moments_by_name:
            self._moments_by_name[name] = tuple(np.zeros_like(parameter) for _ in range(count))
        return self._moments_by_name[name]


class SGD(Optimizer):
    """θ ← θ + v with v ← momentum · v - rate · g: a step against the gradient, plus a part of the last step."""

    def __init__(
        self, learning_rate: float | Schedule = 0.01, momentum: float = 0.0, clip_norm: float | None = None
    ) -> None:
        super().__init__(learning_rate, clip_norm)
        self.momentum = momentum

    def _update(self, name: str, parameter: Array, gradient: Array, rate: float) -> None:
        if self.momentum == 0:
            parameter -= rate * gradient
            return
        (velocity,) = self._moments(name, parameter, 1)
        velocity *= self.momentum
        velocity -= rate * gradient
        parameter += velocity


class Adam(Optimizer):
    """θ ← θ - rate · m / (√v + ε), where m and v are running means of g and g²: a step of about `rate` for every
    parameter.

    Both means start at zero and are too small by a factor 1 - βᵗ after t updates; the rate corrects that.
    Kingma and Ba 2014, https://arxiv.org/abs/1412.6980, with ε as at the end of their section 2 and in Keras.
    """

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, clip_norm)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def _update(self, name: str, parameter: Array, gradient: Array, rate: float) -> None:
        m, v, step = self._moments(name, parameter, 3)  # `step` is a buffer, so no arrays are allocated here
        np.subtract(gradient, m, out=step)
        step *= 1 - self.beta_1
        m += step  # m ← β₁·m + (1 - β₁)·g
        np.multiply(gradient, gradient, out=step)
        step -= v
        step *= 1 - self.beta_2
        v += step  # v ← β₂·v + (1 - β₂)·g²
        np.sqrt(v, out=step)
        step += self.epsilon
        np.divide(m, step, out=step)
        step *= rate * math.sqrt(1 - self.beta_2**self.updates) / (1 - self.beta_1**self.updates)
        parameter -= step


class AdamW(Adam):
    """Adam with decoupled weight decay: every W shrinks by rate · weight_decay, which is not divided by √v.

    Biases, scales, embedding tables and frequencies do not decay. Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101.
    """

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, clip_norm)
        self.weight_decay = weight_decay

    def _update(self, name: str, parameter: Array, gradient: Array, rate: float) -> None:
        if name.endswith("W"):
            parameter *= 1 - rate * self.weight_decay
        super()._update(name, parameter, gradient, rate)


def clip_by_global_norm(gradients: Mapping[str, Array], limit: float) -> float:
    """Scale all gradients in place so that their global norm is at most `limit`. Returns the original norm."""
    norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values()))
    if norm > limit:
        for gradient in gradients.values():
            gradient *= limit / norm
    return norm
