"""The outputs of a model for the rows of a request, as arrays; `models.output_columns` describes their columns."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
NO_EXTRAS: Mapping[str, Array] = MappingProxyType({})
FEW_NUMBERS = 16  # Python checks arrays of up to this size faster than NumPy


class Outputs:
    """The outputs for n rows. They and their arrays are immutable.

    primary: (n, 1) float64 values in the target's unit, or (n, classes) float32 probabilities that sum to 1.
    extras: further arrays by name, (n, ...) each, of numbers or booleans.
    """

    __slots__ = ("extras", "primary")

    def __init__(self, primary: Array, extras: Mapping[str, Array] = NO_EXTRAS) -> None:
        self.primary = primary
        self.extras = extras

    def __len__(self) -> int:
        return len(self.primary)

    def take(self, rows: slice | npt.NDArray[np.intp]) -> Self:
        """The outputs for some of the rows."""
        if not self.extras:
            return type(self)(self.primary[rows])
        return type(self)(self.primary[rows], {name: array[rows] for name, array in self.extras.items()})

    def split(self, sizes: Sequence[int]) -> list[Self]:
        """Consecutive parts with these numbers of rows, which sum to n."""
        return [self.take(slice(stop - size, stop)) for size, stop in zip(sizes, accumulate(sizes), strict=True)]

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Concatenate outputs that all have the same extras."""
        extras = {name: np.concatenate([part.extras[name] for part in parts]) for name in parts[0].extras}
        return cls(np.concatenate([part.primary for part in parts]), extras or NO_EXTRAS)

    def all_finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return is_finite(self.primary) and (not self.extras or all(map(is_finite, self.extras.values())))


NO_OUTPUTS = Outputs(np.empty((0, 0)))
"""The outputs for zero rows of any model."""


def is_finite(array: Array) -> bool:
    if array.size > FEW_NUMBERS:
        return bool(np.isfinite(array).all())
    return all(map(math.isfinite, array.ravel().tolist()))
