"""The reference of a version, stored as `reference.json`: how its columns and predictions were distributed in training.

The distributions of columns come from the training rows; those of predictions from the test rows, which are new to the
model.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from models.feature import MISSING, UNSEEN, Feature
from models.frame import FrameColumns
from models.outputs import Outputs
from models.schema import FeatureSchema, SchemaError
from models.stored_document import StoredDocument

QUANTILE_BINS = 10
MAX_LEVELS = 50
MIN_LEVEL_ROWS = 10  # minimum rows of a level with its own counter
MIN_BIN_ROWS = 5  # minimum rows of a bin: small samples have fewer bins
OWN_BIN_SHARE = 0.05  # a value that is more frequent has its own bin
MAX_OWN_BINS = 5
DIGITS = 9  # significant digits of numbers in the file
Vector = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class NumberReference(BaseModel):
    """The distribution of a column of numbers, booleans or dates, or of predicted numbers.

    edges: between quantile bins; a bin includes its upper edge. own: values that have their own bins. counts: the rows
    of each bin, from the lowest bin on. low, high: the range seen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    type: Literal["number"] = "number"
    name: str
    edges: list[float]
    own: list[float] = []
    counts: list[NonNegativeInt]
    missing: NonNegativeInt = 0
    low: float | None = None
    high: float | None = None

    @cached_property
    def bounds(self) -> Vector:
        """The upper bounds of all bins but the last, ascending."""
        return bin_bounds(self.edges, self.own)

    @cached_property
    def cells(self) -> Counts:
        """The number of rows in each bin, and of rows without a value."""
        return np.array([*self.counts, self.missing], dtype=np.int64)

    def fits(self) -> bool:
        return len(self.counts) == len(self.bounds) + 1 and bool((np.diff(self.bounds) > 0).all())


class CategoryReference(BaseModel):
    """The distribution of a categorical column, or of predicted labels.

    codes, counts: the code and the number of rows of each of the most frequent levels. other: rows with other levels.
    unseen: rows whose level occurs in no other row; their fraction estimates that of unseen levels (Good 1953).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["category"] = "category"
    name: str
    codes: Annotated[list[NonNegativeInt], Field(max_length=MAX_LEVELS)]
    counts: list[NonNegativeInt]
    other: NonNegativeInt = 0
    unseen: NonNegativeInt = 0
    missing: NonNegativeInt = 0

    @cached_property
    def cells(self) -> Counts:
        """The number of rows with each listed level, with other and unseen levels, and without a value."""
        return np.array([*self.counts, self.other, self.unseen, self.missing], dtype=np.int64)

    def fits(self) -> bool:
        return len(self.counts) == len(self.codes) == len(set(self.codes))


ColumnReference = Annotated[NumberReference | CategoryReference, Field(discriminator="type")]


class QualityEstimate(BaseModel):
    """A metric on the test rows: its estimate, which needs no labels, and its measured value."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    metric: Literal["accuracy", "mae"]
    value: float
    measured: float


class DriftReference(StoredDocument):
    """The distributions of a version. columns: in the order of a frame. prediction: None if there are too few test
    rows."""

    format: Literal[1] = 1
    rows: NonNegativeInt
    columns: list[ColumnReference]
    prediction: ColumnReference | None = None
    estimate: QualityEstimate | None = None

    def check(self, schema: FeatureSchema) -> None:
        """Raises SchemaError if the reference was made for another schema."""
        types = ["category" if feature.kind == "category" else "number" for feature in schema.in_frame_order]
        names = [feature.name for feature in schema.in_frame_order]
        levels = [feature.levels for feature in schema.categorical]
        categories = [column for column in self.columns if column.type == "category"]
        fits = (
            [column.name for column in self.columns] == names
            and [column.type for column in self.columns] == types
            and all(column.fits() for column in self.columns)
            and all(max(column.codes, default=-1) < size for column, size in zip(categories, levels, strict=True))
        )
        if fits and self.prediction is not None:
            wanted = "category" if schema.task == "multiclass" else "number"
            fits = self.prediction.type == wanted and self.prediction.fits()
        if fits and self.estimate is not None:
            fits = (self.estimate.metric == "mae") == (schema.task == "regression")
        if not fits:
            raise SchemaError("reference.json does not belong to features.json")

    @classmethod
    def fit(cls, schema: FeatureSchema, frame: FrameColumns) -> Self:
        """The reference of these rows, without predictions."""
        numbers = [
            number_reference(feature.name, column, boolean=feature.kind == "boolean")
            for feature, column in zip(schema.numeric, frame.number_columns(), strict=True)
        ]
        categories = [
            category_reference(feature.name, column, feature)
            for feature, column in zip(schema.categorical, frame.code_columns(), strict=True)
        ]
        return cls(rows=frame.rows, columns=[*numbers, *categories])

    def with_predictions(self, schema: FeatureSchema, outputs: Outputs, estimate: QualityEstimate | None) -> Self:
        """The reference with the outputs for test rows added."""
        values = predicted_numbers(schema, outputs)
        prediction: NumberReference | CategoryReference
        if schema.task == "multiclass":
            prediction = category_reference(schema.target, values.astype(np.int64))
        else:
            prediction = number_reference(schema.target, values)
        return self.model_copy(update={"prediction": prediction, "estimate": estimate})


def predicted_numbers(schema: FeatureSchema, outputs: Outputs) -> Vector:
    """(n,) the predicted value, the probability of the second of two classes, or the index of the most probable
    class."""
    primary = outputs.primary
    if schema.task == "regression":
        return np.asarray(primary[:, 0], dtype=np.float64)
    if schema.task == "binary":
        return np.asarray(primary[:, 1], dtype=np.float64)
    return np.asarray(primary.argmax(axis=1), dtype=np.float64)


def number_reference(name: str, values: Vector, *, boolean: bool = False) -> NumberReference:
    """The distribution of numbers. values: (n,), NaN if missing."""
    present = np.sort(values[np.isfinite(values)])
    edges, own = ([0.5], []) if boolean else choose_bins(present)
    counts = np.bincount(np.searchsorted(bin_bounds(edges, own), present), minlength=len(bin_bounds(edges, own)) + 1)
    return NumberReference(
        name=name,
        edges=edges,
        own=own,
        counts=counts.tolist(),
        missing=len(values) - len(present),
        low=float(present[0]) if len(present) else None,
        high=float(present[-1]) if len(present) else None,
    )


def choose_bins(present: Vector) -> tuple[list[float], list[float]]:
    """The edges of quantile bins, and the values that have their own bins. present: sorted."""
    if not len(present):
        return [], []
    distinct, counts = np.unique(present, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MAX_OWN_BINS]
    frequent = order[counts[order] > OWN_BIN_SHARE * len(present)]
    own = np.sort(distinct[frequent])
    rest = present[~np.isin(present, own)]
    bins = min(QUANTILE_BINS - len(own), len(rest) // MIN_BIN_ROWS)
    ranks = np.arange(1, bins) * len(rest) // max(bins, 1)
    edges = {rounded(float(rest[rank - 1])) for rank in ranks}
    return sorted(edges - {*own.tolist()}), own.tolist()


def rounded(value: float) -> float:
    short = float(f"{value:.{DIGITS}g}")
    return short if np.isfinite(short) else value


def bin_bounds(edges: Sequence[float], own: Sequence[float]) -> Vector:
    """The upper bounds of all bins but the last. A value with its own bin is one bound; the number below it is
    another."""
    below = np.nextafter(np.array(own, dtype=np.float64), -np.inf)
    bounds: Vector = np.sort(np.concatenate([np.array(edges, np.float64), np.array(own, np.float64), below]))
    return bounds[np.diff(bounds, prepend=-np.inf) > 0]  # np.unique would import numpy.ma, which needs its docstrings


def category_reference(name: str, codes: npt.NDArray[np.int64], feature: Feature | None = None) -> CategoryReference:
    """The distribution of levels. codes: (n,). feature: None for predicted labels, which are all listed and never
    unseen."""
    known, counts = np.unique(codes[codes >= 0], return_counts=True)
    unseen = int((codes == UNSEEN).sum())
    if feature is not None and not feature.seen.hashed:
        single = counts == 1
        unseen += int(single.sum())
        known, counts = known[~single], counts[~single]
    order = np.argsort(-counts, kind="stable")
    least = 0 if feature is None else MIN_LEVEL_ROWS
    listed = order[counts[order] >= least][:MAX_LEVELS]
    return CategoryReference(
        name=name,
        codes=known[listed].tolist(),
        counts=counts[listed].tolist(),
        other=int(counts.sum() - counts[listed].sum()),
        unseen=unseen,
        missing=int((codes == MISSING).sum()),
    )
