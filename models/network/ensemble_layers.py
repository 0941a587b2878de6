"""Ensemble layers: the members share matrices, and each member has a few weights of its own."""

from __future__ import annotations  # without it, np.random.Generator would load numpy.random, 2.7 MB per worker

from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt

from models.architecture import Link
from models.network import activations
from models.network.activations import Array
from models.network.initializers import lecun
from models.network.layers import Layer


class Members(Layer):
    """Scales a row for each member: yₖ = x·rₖ, (batch, d) -> (batch, members, d); r (members, d).

    Initially every number of r is 1 or -1 at random. Therefore members that share all later weights learn different
    functions, and the mean of members with different errors has a smaller error. Gorishniy et al. 2024,
    https://arxiv.org/abs/2410.24210 (TabM-mini), after Wen et al. 2020, https://arxiv.org/abs/2002.06715
    (BatchEnsemble).
    """

    kind = "members"

    def __init__(self, r: npt.ArrayLike) -> None:
        super().__init__({"r": np.asarray(r)})
        if self.r.ndim != 2:
            raise ValueError(f"expected r (members, columns), given {self.r.shape}")

    @classmethod
    def new(cls, members: int, columns: int, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Self:
        return cls(rng.choice([-1, 1], (members, columns)).astype(dtype))

    @property
    def r(self) -> Array:
        return self.parameters["r"]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        if x.shape[1:] != self.r.shape[1:]:
            raise ValueError(f"members layer: expected (batch, {self.r.shape[1]}), given {x.shape}")
        self.x = x
        return x[:, np.newaxis, :] * self.r

    def backward(self, d_y: Array) -> Array:
        np.einsum("bkd,bd->kd", d_y, self.x, out=self.gradients["r"])
        d_x: Array = np.einsum("bkd,kd->bd", d_y, self.r)
        return d_x


class SharedDense(Layer):
    """A dense layer with one matrix for all members and scales for each member: yₖ = ((xₖ·rₖ)·W)·sₖ + bₖ.

    (batch, members, inputs), or (batch, inputs) with the same row for all members -> (batch, members, units).
    W (inputs, units), r (members, inputs), s and b (members, units). It is the layer of BatchEnsemble and TabM.
    """

    kind = "shared_dense"

    def __init__(self, W: npt.ArrayLike, r: npt.ArrayLike, s: npt.ArrayLike, b: npt.ArrayLike) -> None:
        super().__init__({"W": np.asarray(W), "r": np.asarray(r), "s": np.asarray(s), "b": np.asarray(b)})
        shapes = [array.shape for array in self.parameters.values()]
        (d, units), k = np.shape(W) if np.ndim(W) == 2 else (0, 0), len(self.r)
        if shapes != [(d, units), (k, d), (k, units), (k, units)]:
            raise ValueError(
                f"expected W (inputs, units), r (members, inputs), s and b (members, units), given {shapes}"
            )

    @classmethod
    def new(
        cls,
        members: int,
        inputs: int,
        units: int,
        rng: np.random.Generator,
        first: bool,
        dtype: npt.DTypeLike = np.float32,
    ) -> Self:
        """A layer with initial weights. first: the input is the same row for all members, so r is 1 or -1 at random;
        otherwise it is 1."""
        limit = inputs**-0.5
        r = rng.choice([-1, 1], (members, inputs)) if first else np.ones((members, inputs))
        b = rng.uniform(-limit, limit, (members, units))
        W = lecun(rng, inputs, units)
        return cls(W.astype(dtype), r.astype(dtype), np.ones((members, units), dtype), b.astype(dtype))

    @property
    def W(self) -> Array:  # noqa: N802 - the field's name for the matrix
        return self.parameters["W"]

    @property
    def r(self) -> Array:
        return self.parameters["r"]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        k, d = self.r.shape
        if x.shape[1:] not in ((d,), (k, d)):
            raise ValueError(f"shared_dense layer: expected (batch, {d}) or (batch, {k}, {d}), given {x.shape}")
        self.same_row = x.ndim == 2
        self.x = x[:, np.newaxis, :] if self.same_row else x
        self.scaled = (self.x * self.r).reshape(-1, d)
        self.u = (self.scaled @ self.W).reshape(-1, k, self.W.shape[1])  # (batch, members, units)
        y: Array = self.u * self.parameters["s"]
        y += self.parameters["b"]
        return y

    def backward(self, d_y: Array) -> Array:
        np.sum(d_y, axis=0, out=self.gradients["b"])
        np.einsum("bku,bku->ku", d_y, self.u, out=self.gradients["s"])
        d_u = (d_y * self.parameters["s"]).reshape(len(self.scaled), self.W.shape[1])  # (batch · members, units)
        np.matmul(self.scaled.T, d_u, out=self.gradients["W"])
        d_scaled = (d_u @ self.W.T).reshape(len(d_y), *self.r.shape)
        np.sum(d_scaled * self.x, axis=0, out=self.gradients["r"])
        d_x: Array = d_scaled * self.r
        return d_x.sum(axis=1) if self.same_row else d_x


class MemberDense(Layer):
    """A dense layer for each member: yₖ = xₖ·Wₖ + bₖ, (batch, members, inputs) -> (batch, members, units).

    W (members, inputs, units), b (members, units).
    """

    kind = "member_dense"

    def __init__(self, W: npt.ArrayLike, b: npt.ArrayLike) -> None:
        super().__init__({"W": np.asarray(W), "b": np.asarray(b)})
        if self.W.ndim != 3 or self.b.shape != (len(self.W), self.W.shape[2]):
            shapes = f"{self.W.shape} and {self.b.shape}"
            raise ValueError(f"expected W (members, inputs, units) and b (members, units), given {shapes}")

    @classmethod
    def new(
        cls, members: int, inputs: int, units: int, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
    ) -> Self:
        limit = inputs**-0.5
        W = rng.uniform(-limit, limit, (members, inputs, units)).astype(dtype)
        return cls(W, np.zeros((members, units), dtype))

    @property
    def W(self) -> Array:  # noqa: N802 - the field's name for the matrix
        return self.parameters["W"]

    @property
    def b(self) -> Array:
        return self.parameters["b"]

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        if x.ndim != 3 or x.shape[1:] != self.W.shape[:2]:
            expected = ", ".join(map(str, self.W.shape[:2]))
            raise ValueError(f"member_dense layer: expected (batch, {expected}), given {x.shape}")
        self.x = x.swapaxes(0, 1)  # (members, batch, inputs)
        y: Array = np.matmul(self.x, self.W).swapaxes(0, 1) + self.b
        return y

    def backward(self, d_y: Array) -> Array:
        by_member = d_y.swapaxes(0, 1)  # (members, batch, units)
        np.matmul(self.x.swapaxes(1, 2), by_member, out=self.gradients["W"])
        np.sum(d_y, axis=0, out=self.gradients["b"])
        d_x: Array = np.matmul(by_member, self.W.swapaxes(1, 2)).swapaxes(0, 1)  # (batch, members, inputs)
        return d_x


class MemberMean(Layer):
    """The mean of the members' outputs: (batch, members, outputs) -> (batch, outputs), on the scale of one member.

    Link "linear": the mean of their values. "sigmoid": the logit of the mean of their probabilities. "softmax": the
    logarithm of that mean. In training y = x, because the loss compares every member with the target.
    """

    kind = "member_mean"

    def __init__(self, link: Link = "linear") -> None:
        if link not in get_args(Link):
            raise ValueError(f"link: expected one of {', '.join(get_args(Link))}, given {link!r}")
        super().__init__()
        self.link = link

    def forward(self, x: Array, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        self.training = training
        return x if training else member_mean(x, self.link, axis=1)

    def backward(self, d_y: Array) -> Array:
        if not self.training:
            raise RuntimeError("members are trained separately, so their mean has no gradient")
        return d_y

    def options(self) -> dict[str, Any]:
        return {"link": self.link}


def member_mean(x: Array, link: Link, axis: int) -> Array:
    """The mean of values or of probabilities (depending on `link`) over the members' axis of logits (..., outputs)."""
    if link == "linear":
        mean: Array = x.mean(axis=axis)
        return mean
    if link == "sigmoid":  # log(Σ p / Σ (1 - p)): the factor 1 / members cancels
        log_not = -activations.Softplus().forward(x)  # log(1 - p); log p is log(1 - p) + x
        logit: Array = log_sum_exp(log_not + x, axis) - log_sum_exp(log_not, axis)
        return logit
    log_p = x - log_sum_exp(x, -1)[..., np.newaxis]
    log_mean: Array = log_sum_exp(log_p, axis) - np.log(x.dtype.type(x.shape[axis]))
    return log_mean


def log_sum_exp(x: Array, axis: int) -> Array:
    """log Σ eˣ over an axis. The largest x is factored out of the sum, so that nothing overflows."""
    largest = x.max(axis=axis, keepdims=True)
    total: Array = np.log(np.exp(x - largest).sum(axis=axis)) + largest.squeeze(axis)
    return total
