"""Compares a new model with the current one on the same rows, on which neither model was trained."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.outputs import Array

MIN_ROWS = 200
TOLERATED = 0.01
"""The maximum upper end of the difference's interval, as a fraction of the current model's error."""
NORMAL_95 = 1.959963984540054
MIN_PROBABILITY = 1e-6  # minimum for the true class, so that a single confident error does not decide the result
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """The errors of two models on the same rows, and the 95 % interval of the difference, new minus current."""

    metric: str
    rows: int
    current: float
    new: float
    low: float
    high: float

    @property
    def is_not_worse(self) -> bool:
        """Whether the difference is within the tolerance. A difference of 0 is not worse, even without any errors."""
        return self.high <= TOLERATED * self.current

    def __str__(self) -> str:
        result = "not worse" if self.is_not_worse else "not shown to be as good"
        return (
            f"{result} on {self.rows:,} rows that neither version was trained on: {self.metric} {self.new:.4g}, before "
            f"{self.current:.4g}; difference {self.new - self.current:+.3g} (95 % interval {self.low:+.3g} to "
            f"{self.high:+.3g}, allowed up to {TOLERATED * self.current:+.3g})"
        )


def compare_regressions(target: Vector, new: Vector, current: Vector) -> Comparison:
    """Compare by the root mean squared error. target, new, current: (n,) values."""
    scale = float(max(np.abs(new - target).max(), np.abs(current - target).max())) or 1.0
    squares = [((values - target) / scale) ** 2 for values in (new, current)]
    low, high = mean_interval(squares[0] - squares[1])
    errors = [math.sqrt(square.mean()) for square in squares]
    total = sum(errors) or 1.0  # a² - b² = (a - b)(a + b)
    return Comparison(
        "RMSE", len(target), errors[1] * scale, errors[0] * scale, low / total * scale, high / total * scale
    )


def compare_classifications(target: npt.NDArray[np.int64], new: Array, current: Array) -> Comparison:
    """Compare by the log loss. target: (n,) columns of the true classes; new, current: (n, classes) probabilities."""
    rows = np.arange(len(target))
    losses = [-np.log(np.maximum(p[rows, target].astype(np.float64), MIN_PROBABILITY)) for p in (new, current)]
    low, high = mean_interval(losses[0] - losses[1])
    return Comparison("log loss", len(target), float(losses[1].mean()), float(losses[0].mean()), low, high)


def mean_interval(differences: Vector) -> tuple[float, float]:
    """The 95 % interval of the mean of independent differences."""
    mean, half = float(differences.mean()), NORMAL_95 * float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return mean - half, mean + half
