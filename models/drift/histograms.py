"""The histograms behind a report of drift: the share of the rows in each cell of a column, at training and now."""

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
    """Add `histogram`, a list of cells, to each column of a report of drift, and to its prediction.

    A cell has the shares `reference` and `current`, and what it counts: one `value`, numbers or dates `above` one
    limit and up `to` another (null: none), or a `group` of rows: `other` or `unseen` levels, or `missing` values.
    """
    for described, feature, column, counted in zip(
        report["columns"], schema.in_frame_order, reference.columns, counts.columns, strict=True
    ):
        cells = cells_of(column, feature.kind, feature.seen.levels)
        described["histogram"] = with_shares(cells, column.cells, counted.cells)
    if reference.prediction is not None and counts.prediction is not None:
        cells = cells_of(reference.prediction, "number", schema.classes)
        report["prediction"]["histogram"] = with_shares(cells, reference.prediction.cells, counts.prediction.cells)


def training_histograms(schema: FeatureSchema, reference: DriftReference) -> dict[str, list[Cell]]:
    """The cells of each column with the shares of the training rows, `reference`."""
    found: dict[str, list[Cell]] = {}
    for feature, column in zip(schema.in_frame_order, reference.columns, strict=True):
        cells = cells_of(column, feature.kind, feature.seen.levels)
        found[feature.name] = [cell | {"reference": share(column.cells, place)} for place, cell in enumerate(cells)]
    return found


def cells_of(column: NumberReference | CategoryReference, kind: Kind, levels: Sequence[Scalar] | None) -> list[Cell]:
    if isinstance(column, NumberReference):
        return [*number_cells(column, kind), *groups(NUMBER_GROUPS)]
    # The levels of a hashed column are not stored: its cells have the number of their bucket
    named = [{"value": levels[code]} if levels else {"bucket": code} for code in column.codes]
    return [*named, *groups(CATEGORY_GROUPS)]


def groups(names: Iterable[str]) -> list[Cell]:
    return [{"group": name} for name in names]


def number_cells(column: NumberReference, kind: Kind) -> list[Cell]:
    if kind == "boolean":
        return [{"value": False}, {"value": True}]
    text: Callable[[float], Any] = iso_second if kind == "date" else rounded
    own = set(column.own)
    below = {math.nextafter(value, -math.inf): value for value in own}  # where the bin before such a value ends
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
    """ISO 8601: limits are rounded, as one bin may end directly below the value of the next."""
    return iso(round(seconds))
