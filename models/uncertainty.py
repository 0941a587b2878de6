"""Intervals and label sets with a stated coverage, by split-conformal prediction.

A score says how far a prediction was from the truth, in a unit that may differ from row to row. For a new row and a
level l, the interval or the label set are all values with a score up to that of rank ⌈(n + 1) · l⌉ among n held-out
rows; it holds the truth with probability l or slightly more for any model, if rows come from the same source (Vovk
et al. 2005; Lei et al. 2018, https://arxiv.org/abs/1604.04173).

Regression: |y - prediction| / scale, where the scale of a row comes from the network (`training.error_scale`).
Classification: 1 - the probability of the true class.
"""

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from models.schema import FeatureSchema, SchemaError
from models.stored_document import StoredDocument

MIN_GROUP_ROWS = 100  # minimum rows of a group with its own scores
KNOTS = 160  # stored quantiles of the scores of a group
TAIL = 40  # the largest scores, which are all stored: high levels depend on single ones

Vector = npt.NDArray[np.float64]


class Scores(BaseModel):
    """The sorted scores of n held-out rows, as some of them with their ranks. Scores between them are interpolated."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    count: Annotated[int, Field(ge=1)]
    ranks: list[int]  # from 1
    values: list[float]

    @classmethod
    def fit(cls, scores: Vector) -> Self:
        """scores: (n,), finite."""
        count, ordered = len(scores), np.sort(scores)
        spread = np.linspace(1, count, min(count, KNOTS)).round().astype(int)
        ranks = np.union1d(spread, np.arange(max(1, count - TAIL + 1), count + 1))
        return cls(count=count, ranks=ranks.tolist(), values=[float(f"{ordered[rank - 1]:.6g}") for rank in ranks])

    @cached_property
    def largest_level(self) -> float:
        return self.count / (self.count + 1)

    def quantile(self, level: float) -> float:
        """The score that a share `level` of new rows does not exceed. Raises LevelError above `largest_level`."""
        rank = math.ceil((self.count + 1) * level * (1 - 1e-12))
        if rank > self.count:
            raise LevelError(level, self.largest_level)
        return float(np.interp(max(rank, 1), self.ranks, self.values))


class LevelError(ValueError):
    """A level that there are too few scores for."""

    def __init__(self, level: float, largest: float) -> None:
        super().__init__(f"the level {level:g} needs more held-out rows; the largest level is {floor_3(largest):g}")
        self.largest = largest


class LevelQuantiles(NamedTuple):
    """The scores that a share of new rows does not exceed: of rows without a group, and by group."""

    everyone: float
    by_group: Mapping[int, float]

    def of(self, groups: Iterable[int]) -> Vector:
        """(n,): for rows of these groups."""
        return np.array([self.by_group.get(group, self.everyone) for group in groups])


class Uncertainty(StoredDocument):
    """The scores of a model, stored as `uncertainty.json`.

    by: the kind of groups: one for all rows, the classes, or the levels of a category, by their code. Codes without a
    group, such as new levels, take the scores of `everyone`.
    """

    format: Literal[1] = 1
    by: Literal["none", "class", "category"] = "none"
    category: str | None = None
    everyone: Scores
    groups: dict[int, Scores] = Field(default_factory=dict)

    def check(self, schema: FeatureSchema) -> None:
        """Raises SchemaError if it was made for another schema."""
        categories = [feature.name for feature in schema.categorical]
        fits = self.by != "category" or self.category in categories
        if self.by == "class":
            fits = schema.classes is not None and all(0 <= group < len(schema.classes) for group in self.groups)
        if not fits:
            raise SchemaError("uncertainty.json does not belong to features.json")

    @cached_property
    def largest_level(self) -> float:
        return min(scores.largest_level for scores in [self.everyone, *self.groups.values()])

    def quantile(self, level: float) -> float:
        """The value for a row without a group. Raises LevelError."""
        return self.everyone.quantile(level)

    def at(self, level: float) -> LevelQuantiles:
        """The values of a level, for rows without a group and for each group. Raises LevelError."""
        by_group = {group: scores.quantile(level) for group, scores in self.groups.items()}
        return LevelQuantiles(self.quantile(level), by_group)


def fit(
    scores: Vector,
    groups: npt.NDArray[np.int64] | None = None,
    by: Literal["class", "category"] = "class",
    category: str | None = None,
) -> Uncertainty:
    """scores: (n,), of rows that neither trained the model nor chose its settings. groups: (n,) or None.

    Groups of a category below MIN_GROUP_ROWS have no separate scores. Either all classes have separate scores or none
    has.
    """
    everyone = Scores.fit(scores)
    if groups is None:
        return Uncertainty(everyone=everyone)
    counts: Mapping[int, int] = {int(group): int((groups == group).sum()) for group in np.unique(groups)}
    own = [group for group, count in counts.items() if count >= MIN_GROUP_ROWS and group >= 0]
    if not own or (by == "class" and len(own) < len(counts)):
        return Uncertainty(everyone=everyone)
    fitted = {group: Scores.fit(scores[groups == group]) for group in own}
    return Uncertainty(by=by, category=category, everyone=everyone, groups=fitted)


def label_sets(probabilities: npt.NDArray[np.float32], quantiles: Vector) -> npt.NDArray[np.bool_]:
    """(n, classes): which labels are in the set of each row. The most probable one always is.

    probabilities: (n, classes). quantiles: (classes,), the score up to which each class belongs to the set.
    """
    members: npt.NDArray[np.bool_] = 1.0 - probabilities.astype(np.float64) <= quantiles
    members[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
    return members


def floor_3(level: float) -> float:
    """Rounded down to three digits, so that the printed level is possible."""
    return math.floor(level * 1000) / 1000
