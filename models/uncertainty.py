"""Intervals and label sets with a stated coverage, by split-conformal prediction.

A score is the distance of a prediction from the truth, in a unit that may differ from row to row. For a new row and a
level l, the interval or the label set contains all values with a score up to that of rank ⌈(n + 1) · l⌉ among n
held-out rows. For any model it contains the truth with probability l or slightly more if rows come from the same source
(Vovk et al. 2005; Lei et al. 2018, https://arxiv.org/abs/1604.04173).

The score of a regression is |y - prediction| / scale, where the network computes the scale of a row
(`training.error_scale`). The score of a classification is 1 - the probability of the true class.
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

MIN_GROUP_ROWS = 100  # minimum number of rows of a group with its own scores
KNOTS = 160  # number of stored quantiles of a group's scores
TAIL = 40  # number of largest scores, which are all stored because high levels depend on single scores

Vector = npt.NDArray[np.float64]


class Scores(BaseModel):
    """The sorted scores of n held-out rows. Some of them are stored with their ranks; scores between them are
    interpolated."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    count: Annotated[int, Field(ge=1)]
    ranks: list[int]  # from 1
    values: list[float]

    @classmethod
    def fit(cls, scores: Vector) -> Self:
        """Select the scores to store. scores: (n,), finite."""
        count, ordered = len(scores), np.sort(scores)
        spread = np.linspace(1, count, min(count, KNOTS)).round().astype(int)
        ranks = np.union1d(spread, np.arange(max(1, count - TAIL + 1), count + 1))
        return cls(count=count, ranks=ranks.tolist(), values=[float(f"{ordered[rank - 1]:.6g}") for rank in ranks])

    @cached_property
    def largest_level(self) -> float:
        return self.count / (self.count + 1)

    def quantile(self, level: float) -> float:
        """The score that a fraction `level` of new rows does not exceed. Raises LevelError for levels above
        `largest_level`."""
        rank = math.ceil((self.count + 1) * level * (1 - 1e-12))
        if rank > self.count:
            raise LevelError(level, self.largest_level)
        return float(np.interp(max(rank, 1), self.ranks, self.values))


class LevelError(ValueError):
    """There are too few scores for a level."""

    def __init__(self, level: float, largest: float) -> None:
        super().__init__(
            f"the level {level:g} needs more held-out rows; the largest level is {floor_to_3_digits(largest):g}"
        )
        self.largest = largest


class LevelQuantiles(NamedTuple):
    """The scores that a fraction of new rows does not exceed, for rows without a group and by group."""

    everyone: float
    by_group: Mapping[int, float]

    def for_groups(self, groups: Iterable[int]) -> Vector:
        """The scores (n,) for rows of these groups."""
        return np.array([self.by_group.get(group, self.everyone) for group in groups])


class Uncertainty(StoredDocument):
    """The scores of a model, stored as `uncertainty.json`.

    by: the type of the groups: one group for all rows, the classes, or the levels of a category, identified by their
    codes. The scores of `everyone` are used for codes without a group, such as new levels.
    """

    format: Literal[1] = 1
    by: Literal["none", "class", "category"] = "none"
    category: str | None = None
    everyone: Scores
    groups: dict[int, Scores] = Field(default_factory=dict)

    def check(self, schema: FeatureSchema) -> None:
        """Raises SchemaError if the scores belong to another schema."""
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
        """The quantile for a row without a group. Raises LevelError."""
        return self.everyone.quantile(level)

    def quantiles_at(self, level: float) -> LevelQuantiles:
        """The quantiles of a level, for rows without a group and for each group. Raises LevelError."""
        by_group = {group: scores.quantile(level) for group, scores in self.groups.items()}
        return LevelQuantiles(self.quantile(level), by_group)


def fit(
    scores: Vector,
    groups: npt.NDArray[np.int64] | None = None,
    by: Literal["class", "category"] = "class",
    category: str | None = None,
) -> Uncertainty:
    """Fit the uncertainty of a model. scores: (n,) of rows that were used neither for training nor for selecting
    settings. groups: (n,) or None.

    Levels of a category with fewer than MIN_GROUP_ROWS rows have no separate scores. Classes have separate scores only
    if all of them have enough rows.
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
    """(n, classes): the labels in each row's set. The most probable label is always in the set.

    probabilities: (n, classes). quantiles: (classes,) the score up to which a class belongs to the set.
    """
    members: npt.NDArray[np.bool_] = 1.0 - probabilities.astype(np.float64) <= quantiles
    members[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
    return members


def floor_to_3_digits(level: float) -> float:
    """Round a level down to three digits, so that the printed level is possible."""
    return math.floor(level * 1000) / 1000
