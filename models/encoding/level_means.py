"""The mean of the target of each level of a category, as further columns of numbers."""

from functools import cached_property
from typing import Annotated, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

PRIOR_ROWS = 10.0  # number of rows that the overall mean counts for if the rows do not show it
MIN_PRIOR_ROWS, MAX_PRIOR_ROWS = 1.0, 1000.0
DIGITS = 6  # decimal places of the stored means of a target whose standard deviation is 1
MAX_MEAN = 1e6
Mean = Annotated[float, Field(ge=-MAX_MEAN, le=MAX_MEAN)]  # also finite


class LevelMeans(BaseModel):
    """The smoothed means of the target by level, one column for each output: the mean of a level's training rows minus
    the overall mean, multiplied by rows / (rows + prior rows). The target is standardised.

    The mean of a level with few rows is close to the overall mean, which is 0. Unseen levels, levels without training
    rows and missing cells have 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    columns: Annotated[list[list[Mean]], Field(min_length=1)]  # for each output the mean of each code

    embedded: ClassVar[bool] = False

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if len({*map(len, self.columns)}) > 1:
            raise ValueError("all columns of level means must have the same number of levels")
        return self

    @classmethod
    def fit(
        cls, codes: npt.NDArray[np.int64], target: npt.NDArray[np.float64], count: int, prior_rows: float | None = None
    ) -> Self:
        """Fit the means. codes: (rows,). target: (rows, outputs). count: the number of levels. prior_rows: by default
        estimated from the rows."""
        known = codes >= 0
        codes, target = codes[known], target[known]
        if not len(codes):
            return cls(columns=np.zeros((target.shape[1], count)).tolist())
        y = target - target.mean(axis=0)
        rows = np.bincount(codes, minlength=count)
        sums = np.stack([np.bincount(codes, column, minlength=count) for column in y.T]).astype(np.float64)
        prior = estimate_prior_rows(rows, sums, y) if prior_rows is None else prior_rows
        means = np.clip(sums / (rows + prior), -MAX_MEAN, MAX_MEAN)
        return cls(columns=means.round(DIGITS).tolist())

    @property
    def count(self) -> int:
        """The number of levels."""
        return len(self.columns[0])

    @property
    def width(self) -> int:
        return len(self.columns)

    @cached_property
    def table(self) -> npt.NDArray[np.float32]:
        """(codes + 2, width): the means of each code; the last two rows are those of missing and unseen levels, 0."""
        return np.pad(np.array(self.columns, dtype=np.float32).T, ((0, 2), (0, 0)))


def estimate_prior_rows(rows: npt.NDArray[np.intp], sums: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """The ratio of the variance within levels to the variance between them (empirical Bayes, analysis of variance).

    With this number of prior rows, the smoothed means have the smallest expected squared error. rows: (levels,). sums:
    (outputs, levels) of y. y: (rows, outputs), with mean 0. The variances of several outputs are added.
    """
    used = rows > 0
    levels, total = int(used.sum()), int(rows.sum())
    if levels < 2 or total == levels:
        return PRIOR_ROWS
    counts = rows[used]
    between = float((sums[:, used] ** 2 / counts).sum())  # sums of squares
    within = (float((y**2).sum()) - between) / (total - levels)
    mean_rows = (total - float((counts.astype(np.float64) ** 2).sum()) / total) / (levels - 1)
    variance = (between / (levels - 1) - within) / mean_rows
    if not variance > within / MAX_PRIOR_ROWS:
        return MAX_PRIOR_ROWS
    return max(within / variance, MIN_PRIOR_ROWS)
