"""Arrays of the limits that a schema declares for numbers and of the ranges seen in training, to check whole
matrices."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.feature import Feature
from models.frame import FloatMatrix


class NumericRanges:
    """The ranges of the features of `Frame.numbers`, in order.

    low, high: (features,) the lowest and highest valid number; all finite numbers are valid if no limit is declared.
    nullable: (features,) whether a value may be missing. with_gaps: whether a value of any feature may be missing.
    seen_low, seen_high: (1, features) the lowest and highest value without a warning; NumPy does not broadcast them to
    a single row. common_low, common_high: (features,) the limits of values that are valid and get no warning.
    """

    def __init__(self, numeric: Sequence[Feature]) -> None:
        largest = np.finfo(np.float64).max
        self.low = np.array([-largest if feature.low is None else feature.low for feature in numeric])
        self.high = np.array([largest if feature.high is None else feature.high for feature in numeric])
        self.nullable: npt.NDArray[np.bool_] = np.array([feature.nullable for feature in numeric], dtype=bool)
        self.with_gaps = bool(self.nullable.any())
        low, high = zip(*[feature.seen_range for feature in numeric], strict=True) if numeric else ((), ())
        self.seen_low: FloatMatrix = np.array([low], dtype=np.float64)
        self.seen_high: FloatMatrix = np.array([high], dtype=np.float64)
        self.common_low: FloatMatrix = np.maximum(self.low, self.seen_low[0])
        self.common_high: FloatMatrix = np.minimum(self.high, self.seen_high[0])
