"""The scaling of a regression's target."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from models.encoding.column_encodings import Vector, stable_moments

FEW_VALUES = 6  # for up to this number of values Python is faster than NumPy
MAX_EXPONENT, MAX_FACTOR = 300.0, 1e100  # keep exp(x) · factor finite


class LogScaling(BaseModel):
    """The network's output is (log(target + offset) - mean) / scale.

    factor: of target + offset, so that predictions have the mean of the target: the exponential of a mean logarithm
    is smaller than the mean (Duan 1983, https://doi.org/10.1080/01621459.1983.10478017).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    offset: float = Field(ge=0)
    mean: float
    scale: float = Field(gt=0)
    lowest: float = Field(gt=0)  # the smallest target + offset of the training rows; smaller ones count as this
    factor: float = Field(default=1.0, gt=0, le=MAX_FACTOR)

    @classmethod
    def fit(cls, values: Vector) -> Self:
        """Fit to training targets (rows,), none of which is negative. If some are 0, the offset is their mean."""
        offset = 0.0 if values.min() > 0 else float(values.mean())
        mean, scale = stable_moments(np.log(values + offset))
        return cls(offset=offset, mean=mean, scale=scale, lowest=float(values.min()) + offset)

    def apply(self, values: Vector) -> Vector:
        return (np.log(np.maximum(values + self.offset, self.lowest)) - self.mean) / self.scale

    def exponentiate(self, outputs: Vector) -> None:
        """Replace outputs by their target + offset, without the factor. Infinite outputs remain infinite."""
        infinite = np.isinf(outputs)
        unchanged = outputs[infinite]
        with np.errstate(over="ignore"):
            outputs *= self.scale
            outputs += self.mean
        np.minimum(outputs, MAX_EXPONENT, out=outputs)
        np.exp(outputs, out=outputs)
        outputs[infinite] = unchanged


class TargetScaling(BaseModel):
    """The scale of a regression's target in training, and the range to which predictions are clipped, if any.

    The network's output is (target - mean) / scale, or a logarithm if there is a `logarithm`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    mean: float = 0.0
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    logarithm: LogScaling | None = None

    @classmethod
    def fit(cls, values: Vector, clip: bool = False) -> Self:
        """Fit the scale to the training values. clip: whether predictions are clipped to the range of these values."""
        mean, scale = stable_moments(values)
        low, high = (float(values.min()), float(values.max())) if clip else (None, None)
        return cls(mean=mean, scale=scale, low=low, high=high)

    def apply(self, values: Vector) -> Vector:
        """Targets (rows,) as the network learns them."""
        if self.logarithm is not None:
            return self.logarithm.apply(values)
        return (values - self.mean) / self.scale

    def errors(self, learned: Vector, predicted: Vector) -> Vector:
        """(rows,): targets minus predictions, divided by the scale. learned: the result of `apply`. predicted: in the
        target's unit."""
        if self.logarithm is not None:
            targets = np.array(learned, np.float64)
            self.logarithm.exponentiate(targets)
            return (targets - self.logarithm.offset - predicted) / self.scale
        return learned - (predicted - self.mean) / self.scale

    @cached_property
    def _rounding(self) -> tuple[float, float] | None:
        """The factor and the divisor for rounding, of which one is 1; None for scales at which they would overflow."""
        digits = 7 - math.floor(math.log10(self.scale))
        largest = math.log10(max(self.scale, abs(self.mean)))
        if self.logarithm is not None:
            largest = max(largest, MAX_EXPONENT / math.log(10) + math.log10(self.logarithm.factor))
        if abs(digits) > 200 or digits + largest > 200:
            return None
        return (10.0**digits, 1.0) if digits >= 0 else (1.0, 10.0**-digits)

    def unscale(self, outputs: npt.NDArray[Any]) -> Vector:
        """(rows, 1) outputs -> the target's unit, rounded to a ten-millionth of its spread, the precision of float32.

        An output that is not finite remains so, even if predictions are clipped.
        """
        if outputs.size <= FEW_VALUES:
            return np.array([*map(self.unscaler(), outputs.ravel().tolist())]).reshape(outputs.shape)
        values: Vector = outputs.astype(np.float64)
        scale, mean = self._line
        if self.logarithm is not None:
            self.logarithm.exponentiate(values)
        with np.errstate(over="ignore"):
            values *= scale
            values += mean
        if self._rounding is not None:
            factor, divisor = self._rounding
            if divisor == 1.0:
                values *= factor
                np.rint(values, out=values)
                values /= factor
            else:
                values /= divisor
                np.rint(values, out=values)
                values *= divisor
        values += 0.0  # -0.0, the rounded form of small negative numbers, becomes 0.0 as in `unscaler`
        if self.low is not None:
            np.clip(values, self.low, self.high, out=values, where=np.isfinite(values))
        return values

    def unscale_one(self, output: float) -> float:
        """Unscale one output by the same operations as `unscale`."""
        return self.unscaler()(output)

    def unscaler(self) -> Callable[[float], float]:
        """`unscale_one` for many calls: a function that reads no attributes."""
        scale, mean = self._line
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        rounds = self._rounding is not None
        factor, divisor = self._rounding or (1.0, 1.0)
        is_finite = math.isfinite

        def unscale(output: float) -> float:
            value = output * scale + mean
            if not is_finite(value):
                return value
            if rounds:
                value = round(value * factor / divisor) * divisor / factor
            if low <= value <= high:
                return value
            return low if value < low else high

        if self.logarithm is None:
            return unscale
        log_scale, log_mean, exp = self.logarithm.scale, self.logarithm.mean, np.exp  # math.exp may round differently

        def unscale_logarithm(output: float) -> float:
            if not is_finite(output):
                return output
            return unscale(float(exp(min(output * log_scale + log_mean, MAX_EXPONENT))))

        return unscale_logarithm

    @property
    def _line(self) -> tuple[float, float]:
        """Slope and intercept of the target as a function of the output, or of the exponential of a logarithm."""
        if self.logarithm is None:
            return self.scale, self.mean
        return self.logarithm.factor, -self.logarithm.offset
