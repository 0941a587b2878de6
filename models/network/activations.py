"""Activation functions: the nonlinearity between two layers, without which all layers are one matrix product.

Each is y = f(x) with the rule for its gradient: `backward` takes d_y = dL/dy and returns d_x = dL/dx, which is
d_y · f'(x) for functions of a single number. All are exact in the tails: there is no overflow and no warning, and tiny
results have full relative precision. `forward` writes its result into `out` if supplied; `out` may be x itself.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
ZERO = np.zeros((), dtype=np.float32)  # an array, because converting a float would be half of the cost for one row
ZEROS = np.zeros(1 << 18, dtype=np.float32)  # never written to, so it takes one page of memory
ZEROS.setflags(write=False)
MIN_ZEROS = 2048  # from this size on, a maximum with an array of zeros is faster than with a single zero


class ActivationFunction(Protocol):
    def forward(self, x: Array, out: Array | None = None) -> Array: ...

    def backward(self, d_y: Array, x: Array, y: Array) -> Array: ...


@dataclass(frozen=True)
class Linear:
    """y = x: the output of a regression; logits."""

    def forward(self, x: Array, out: Array | None = None) -> Array:
        y: Array = np.positive(x, out=out)
        return y

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        return d_y


@dataclass(frozen=True)
class Sigmoid:
    """y = 1 / (1 + e⁻ˣ): any number becomes a probability."""

    @np.errstate(over="ignore")  # e¹⁰⁰⁰ overflows to infinity, and 1 / (1 + infinity) is correctly 0
    def forward(self, x: Array, out: Array | None = None) -> Array:
        y: Array = np.divide(1, 1 + np.exp(-x), out=out)
        return y

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        return d_y * y * (1 - y)


@dataclass(frozen=True)
class ReLU:
    """y = max(0, x): cheap, and its gradient does not vanish where x > 0."""

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """For the maximum of two arrays NumPy uses vector instructions, which take a quarter of the time (1,024 rows of
        128 numbers)."""
        if MIN_ZEROS <= x.size <= ZEROS.size and x.dtype == ZEROS.dtype and x.flags.c_contiguous:
            return np.maximum(x, ZEROS[: x.size].reshape(x.shape), out=out)
        return np.maximum(x, ZERO, out=out)

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        return d_y * (y > 0)


@dataclass(frozen=True)
class LeakyReLU:
    """y = x above zero, slope · x below: its gradient is never zero, so no unit stays off permanently."""

    slope: float = 0.2

    def forward(self, x: Array, out: Array | None = None) -> Array:
        below = self.slope * np.minimum(x, 0)
        return np.add(np.maximum(x, 0), below, out=out)

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        return np.where(x > 0, d_y, self.slope * d_y)


@dataclass(frozen=True)
class Tanh:
    """y = (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ): a sigmoid between -1 and 1, centred on zero."""

    def forward(self, x: Array, out: Array | None = None) -> Array:
        return np.tanh(x, out=out)

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        return d_y * (1 - y * y)


@dataclass(frozen=True)
class Softplus:
    """y = log(1 + eˣ): a smooth ReLU; its derivative is the sigmoid."""

    def forward(self, x: Array, out: Array | None = None) -> Array:
        return np.add(np.maximum(x, 0), np.log1p(np.exp(-np.abs(x))), out=out)

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        d_x: Array = d_y * Sigmoid().forward(x)
        return d_x


@dataclass(frozen=True)
class ELU:
    """y = x above zero, alpha · (eˣ - 1) below: it levels off at -alpha, without a corner at zero."""

    alpha: float = 1.0

    def forward(self, x: Array, out: Array | None = None) -> Array:
        below = self.alpha * np.expm1(np.minimum(x, 0))
        return np.add(np.maximum(x, 0), below, out=out)

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        return np.where(x > 0, d_y, d_y * (y + self.alpha))  # below zero f'(x) = alpha · eˣ = y + alpha


@dataclass(frozen=True)
class GELU:
    """y = x · Φ(x), Φ the normal distribution function: x, weighted by the probability that a normal number is
    smaller."""

    def forward(self, x: Array, out: Array | None = None) -> Array:
        return np.multiply(x, normal_cdf(x), out=out)

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        slope: Array = normal_cdf(x) + x * _bell(x) * (2 * math.pi) ** -0.5  # Φ(x) + x·φ(x)
        return d_y * slope


@dataclass(frozen=True)
class SiLU:
    """y = x · sigmoid(x) = x / (1 + e⁻ˣ), also called swish."""

    @np.errstate(over="ignore")  # as in Sigmoid
    def forward(self, x: Array, out: Array | None = None) -> Array:
        y: Array = np.divide(x, 1 + np.exp(-x), out=out)
        return y

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        s = Sigmoid().forward(x)
        slope: Array = s + y * (1 - s)  # (x·s)' = s + x·s·(1 - s)
        return d_y * slope


@dataclass(frozen=True)
class Softmax:
    """yᵢ = eˣⁱ / Σⱼ eˣʲ: a row of any numbers becomes a row of probabilities."""

    def forward(self, x: Array, out: Array | None = None) -> Array:
        y: Array = np.subtract(x, x.max(axis=-1, keepdims=True), out=out)  # the result is the same, and no eˣ overflows
        np.exp(y, out=y)
        y /= y.sum(axis=-1, keepdims=True)
        return y

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        # every y depends on every x of its row: dyᵢ/dxⱼ = yᵢ·(1[i=j] - yⱼ)
        d_x: Array = y * (d_y - (d_y * y).sum(axis=-1, keepdims=True))
        return d_x


FUNCTIONS: dict[str, type[ActivationFunction]] = {
    "linear": Linear,
    "sigmoid": Sigmoid,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "tanh": Tanh,
    "softplus": Softplus,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "softmax": Softmax,
}


def get(name: str, **options: float) -> ActivationFunction:
    """The function with this name; options are its constants (`slope`, `alpha`). Raises ValueError for an unknown
    name."""
    if name not in FUNCTIONS:
        raise ValueError(f"activation {name!r} is unknown, expected one of {', '.join(FUNCTIONS)}")
    return FUNCTIONS[name](**options)


def describe(function: ActivationFunction) -> dict[str, Any]:
    """The arguments of `get` for a function, as `{"function": name, **constants}`."""
    name = next(name for name, kind in FUNCTIONS.items() if type(function) is kind)
    constants = {field.name: getattr(function, field.name) for field in dataclasses.fields(function)}  # type: ignore[arg-type]
    return {"function": name, **constants}


# Φ(-|x|) = e^(-x²/2) · t · P(t) with t = 1 / (1 + |x|/4): the form of Abramowitz and Stegun 26.2.17, with polynomials P
# that were fitted (Chebyshev nodes, weighted for relative error) to scipy's erfcx. The relative errors are 4e-8 and
# 5e-15.
_P_FLOAT32 = (
    0.09973556620061626, 0.09973653976125117, 0.09346278632101736, 0.08164728216587434, 0.05870716888878304,
    0.06459580271651513, -0.03345294762138355, 0.09752885460993571, -0.08202378350885706, 0.020062734793698755,
)  # fmt: skip
_P_FLOAT64 = (
    0.09973557010035856, 0.0997355700999376, 0.09350209702905213, 0.08103514719643662, 0.06350361913008834,
    0.0432425193053222, 0.023428998322448314, 0.006910454779746818, -0.0011827603888281517, -0.016304193224651133,
    0.033169984369514176, -0.1167672965088818, 0.2760950186787561, -0.49436110246409054, 0.6913755390501303,
    -0.7155826123434433, 0.5270244249588846, -0.26814211452562775, 0.08991528403014666, -0.017958642747773604,
    0.0016244951524729968,
)  # fmt: skip


def normal_cdf(x: Array) -> Array:
    """Φ(x), the fraction of a normal distribution below x, precise in both tails. SciPy is not used because it is not
    installed for serving."""
    t = 1 / (1 + 0.25 * np.abs(x))
    coefficients = _P_FLOAT64 if x.dtype == np.float64 else _P_FLOAT32
    tail = np.full_like(t, coefficients[-1])
    for c in coefficients[-2::-1]:  # Horner: ((c₉·t + c₈)·t + …)·t + c₀
        tail *= t
        tail += c
    tail *= t
    tail *= _bell(x)
    above = x > 0
    return np.abs(above - tail)  # 1 - tail above zero, tail below; with np.where GELU takes a third longer


def _bell(x: Array) -> Array:
    x = np.clip(x, -40, 40)  # e^(-40²/2) is 0 already, and x² must not overflow
    return np.exp(-0.5 * x * x)
