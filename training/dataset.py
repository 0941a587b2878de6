"""A data set: the columns of a table with their inferred types, ready to be split and encoded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.feature import Feature
from models.schema import FeatureSchema
from training.infer_columns import ColumnDecision


@dataclass(frozen=True)
class Dataset:
    """The n rows of a table that have a target, and the schema of its columns.

    columns: (n,) for each feature, the input of `FrameBuilder.from_columns`: float64 with NaN (number, boolean as 0/1,
    date as seconds since 1970) or object, the level or None (category). Infinities were replaced by NaN. Each look-up
    of a column of a large table reads it from the disk (`SpilledColumns`).
    target: (n,) float64 (regression), or int64, the position in `schema.classes`.
    The values of a text column are texts or None until its scores are fitted (`text_columns`).
    candidates: text columns that are not in the schema, with their values; training tries them.
    row_numbers: (n,) the position of each row in the table, from 0.
    split_key: (n,) the key of `--split`, see `split_rule.read_split_key`, or None.
    """

    schema: FeatureSchema
    columns: Mapping[str, npt.NDArray[Any]]
    target: npt.NDArray[Any]
    row_numbers: npt.NDArray[np.intp]
    split_key: npt.NDArray[Any] | None
    notices: list[str]
    decisions: list[ColumnDecision]
    fingerprint: str  # SHA-256 of the file
    origin: dict[str, Any]  # how the file was read: format, encoding, …
    rows_read: int
    rows_used: int
    candidates: tuple["TextCandidate", ...] = ()


@dataclass(frozen=True)
class TextCandidate:
    """A column of free text that training tries. values: (n,) text or None."""

    feature: Feature
    values: npt.NDArray[Any]


class MemoryColumns(dict[str, npt.NDArray[Any]]):
    """The columns of a data set in memory."""

    def ordered(self, names: list[str]) -> "MemoryColumns":
        return MemoryColumns((name, self[name]) for name in names)
