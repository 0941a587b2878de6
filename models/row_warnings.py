"""Warnings: valid values that did not occur in training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.date_parsing import iso
from models.feature import UNSEEN, Feature, Scalar
from models.frame import FEW_ROWS, FloatMatrix, Frame, Row, any_true, column_extremes
from models.ranges import NumericRanges
from models.schema import FeatureSchema
from models.text import render


class RowWarning(NamedTuple):
    """A warning about an uncommon value in a valid row. The row is predicted nevertheless."""

    field: str
    code: str
    message: str


def in_range(schema: FeatureSchema, frame: Frame) -> bool:
    """Whether there are rows, all numbers are present, valid and within the range seen in training, and no level is
    unseen. It is fast if columns are contiguous in memory."""
    numbers, codes = frame
    if not len(numbers) or (codes == UNSEEN).any():
        return False
    ranges = schema.ranges
    low, high = ranges.common_low, ranges.common_high
    return bool((numbers.min(axis=0) >= low).all() and (numbers.max(axis=0) <= high).all())  # NaN is outside


def find_warnings(
    schema: FeatureSchema, frame: Frame, rows: Sequence[Row] | None = None
) -> dict[int, list[RowWarning]]:
    """The warnings of valid rows, by row number: values outside the range seen, and unseen levels.

    rows: the same rows as JSON values, so that messages contain the values that were sent.
    """
    found: dict[int, list[RowWarning]] = {}
    ranges = schema.ranges
    low, high = ranges.seen_low, ranges.seen_high
    if not all_seen(ranges, frame.numbers):
        outside = (frame.numbers < low) | (frame.numbers > high)  # NaN is neither
        for row, column in np.argwhere(outside).tolist():
            feature, number = schema.numeric[column], float(frame.numbers[row, column])
            value: Scalar = number
            if feature.kind == "date":
                value = rows[row][feature.name] if rows is not None else iso(number)
            found.setdefault(row, []).append(_outside_seen(feature, value))
    if schema.categorical and any_true(unseen := frame.codes == UNSEEN):
        for row, column in np.argwhere(unseen).tolist():
            feature = schema.categorical[column]
            level = f"{render(rows[row][feature.name])} is a level" if rows is not None else "holds a level"
            message = f"feature {feature.name!r}: {level} never seen in training"
            found.setdefault(row, []).append(RowWarning(feature.name, "unseen_level", message))
    return found


def all_seen(ranges: NumericRanges, numbers: FloatMatrix) -> bool:
    """Whether all numbers are certainly within the ranges seen in training or missing."""
    low, high = ranges.seen_low, ranges.seen_high
    if len(numbers) <= FEW_ROWS or ranges.with_gaps:
        return np.minimum(np.maximum(numbers, low), high).tobytes() == numbers.tobytes()
    lowest, highest = column_extremes(numbers)
    return bool((lowest >= low).all() and (highest <= high).all())


def _outside_seen(feature: Feature, value: Scalar) -> RowWarning:
    seen = f"{render(feature.seen.min, bare=True)}..{render(feature.seen.max, bare=True)}"
    message = f"feature {feature.name!r}: {render(value)} is outside {seen}, the range seen in training"
    return RowWarning(feature.name, "outside_seen", message)
