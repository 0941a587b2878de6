"""The histograms of a drift report: the fraction of the rows in each cell of a column, in training and now."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from models.date_parsing import iso
from models.drift.counter import DriftCounts
from models.drift.drift_report import share
from models.drift.reference import CategoryReference, Counts, DriftReference, NumberReference, rounded
from models.feature import Kind, Scalar
from models.schema import FeatureSchema

Cell = dict[str, Any]
NUMBER_GROUPS = ("missing",)
CATEGORY_GROUPS = ("other", "unseen", "missing")


def add_histograms(
    report: dict[str, Any], schema: FeatureSchema, reference: DriftReference, counts: DriftCounts
) -> None:
    """Add `histogram`, a list of cells, to each column of a drift report and to its prediction.

    A cell contains the fractions `reference` and `current`, and the values that it counts: one `value`; numbers or
    dates `above` one limit and up `to` another (null: no limit); or a `group`: `other` or `unseen` levels, or `missing`
    values.
    """
    for described, feature, column, counted in zip(
        report["columns"], schema.in_frame_order, reference.columns, counts.columns, strict=True
    ):
        cells = make_histogram_cells(column, feature.kind, feature.seen.levels)
        described["histogram"] = with_shares(cells, column.cells, counted.cells)
    if reference.prediction is not None and counts.prediction is not None:
        cells = make_histogram_cells(reference.prediction, "number", schema.classes)
        report["prediction"]["histogram"] = with_shares(cells, reference.prediction.cells, counts.prediction.cells)


def training_histograms(schema: FeatureSchema, reference: DriftReference) -> dict[str, list[Cell]]:
    """The cells of each column. `reference` is a cell's fraction of the training rows."""
    found: dict[str, list[Cell]] = {}
    for feature, column in zip(schema.in_frame_order, reference.columns, strict=True):
        cells = make_histogram_cells(column, feature.kind, feature.seen.levels)
        found[feature.name] = [cell | {"reference": share(column.cells, place)} for place, cell in enumerate(cells)]
    return found


def make_histogram_cells(
    column: NumberReference | CategoryReference, kind: Kind, levels: Sequence[Scalar] | None
) -> list[Cell]:
    if isinstance(column, NumberReference):
        return [*number_cells(column, kind), *group_cells(NUMBER_GROUPS)]
    # The levels of a hashed column are not stored: its cells contain the number of their bucket
    named = [{"value": levels[code]} if levels else {"bucket": code} for code in column.codes]
    return [*named, *group_cells(CATEGORY_GROUPS)]


def group_cells(names: Iterable[str]) -> list[Cell]:
    return [{"group": name} for name in names]


def number_cells(column: NumberReference, kind: Kind) -> list[Cell]:
    if kind == "boolean":
        return [{"value": False}, {"value": True}]
    text: Callable[[float], Any] = iso_second if kind == "date" else rounded
    own = set(column.own)
    below = {math.nextafter(value, -math.inf): value for value in own}  # the end of the bin before such a value
    limits = [None, *column.bounds.tolist(), None]
    cells: list[Cell] = []
    for low, high in itertools.pairwise(limits):
        if high in own:
            cells.append({"value": text(high)})
        else:
            ends = (None if limit is None else text(below.get(limit, limit)) for limit in (low, high))
            cells.append(dict(zip(("above", "to"), ends, strict=True)))
    return cells


def with_shares(cells: Sequence[Cell], reference: Counts, current: Counts) -> list[Cell]:
    return [
        cell | {"reference": share(reference, position), "current": share(current, position)}
        for position, cell in enumerate(cells)
    ]


def iso_second(seconds: float) -> str:
    """A limit as ISO 8601 text, rounded because a bin may end directly below the value of the next bin."""
    return iso(round(seconds))
