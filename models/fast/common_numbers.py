"""Recognises rows of numbers that are all valid and get no warning, by the lowest and highest number of each column.

The general code is in `models.column_validation` and `models.rows`.
"""

from collections.abc import Mapping

import numpy as np

from models.columns import Array
from models.frame import FloatMatrix, Frame
from models.row_warnings import in_range
from models.schema import FeatureSchema


def common_columns(schema: FeatureSchema, arrays: Mapping[str, Array], count: int) -> Frame | None:
    """The frame of `count` rows whose columns are exactly those of the schema and are common; else None."""
    if not schema.only_numbers or not count or not arrays or len(arrays) != len(schema.numeric):
        return None
    columns = []
    for name in schema.by_name:
        array = arrays.get(name)
        if array is None or len(array) != count or array.dtype.kind not in "fiu":
            return None
        columns.append(array)
    numbers = np.concatenate(columns, dtype=np.float64).reshape(len(columns), count).T
    return _frame_if_in_range(schema, numbers)


def common_matrix(schema: FeatureSchema, matrix: Array) -> Frame | None:
    """The frame of a matrix (rows, features) of numbers, with columns in the order of the schema, if all rows are
    common; else None."""
    if not schema.only_numbers or matrix.shape[1] != len(schema.features):
        return None
    return _frame_if_in_range(schema, matrix.astype(np.float64, order="F"))  # columns are compared


def _frame_if_in_range(schema: FeatureSchema, numbers: FloatMatrix) -> Frame | None:
    frame = Frame.from_numbers(numbers)
    return frame if in_range(schema, frame) else None
