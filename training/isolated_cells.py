"""Finds isolated cells: notices name them, and their rows are not used for training."""

import numpy as np

from models.date_parsing import iso
from models.encoding.isolated import MAX_ISOLATED_FRACTION, CommonRange, Vector, common_range
from models.feature import Feature, Kind, integer_if_exact
from models.text import render
from training.cells import Mask
from training.dataset import Dataset

MAX_ISOLATED_TARGETS = 0.001  # maximum fraction of rows at each end (at least one row); more rows are not isolated
MIN_FEW = 5  # number of rows that may be excluded from any table
MAX_NAMED = 3  # number of cells of a column that a notice names
TOTAL_WORDS = {
    *("total", "totals", "grand total", "sum", "all", "overall", "subtotal", "summe", "gesamt", "gesamtsumme"),
    *("insgesamt", "total général", "ensemble", "somme", "totale", "suma", "totaal", "razem", "итого", "всего"),
    *("合計", "总计", "合计"),
}


def isolated_rows(dataset: Dataset) -> Mask:
    """(n,): the rows not to train on. These are rows with an isolated target, and rows with an isolated feature unless
    there are many, in which case the encoder clips the values."""
    targets = _isolated_targets(dataset)
    features = np.zeros(len(targets), dtype=bool)
    for feature in numeric_features(dataset):
        values = dataset.columns[feature.name]
        isolated = _isolated_values(values)
        if isolated.sum() <= _max_excluded_rows(int(np.count_nonzero(~np.isnan(values)))):
            features |= isolated
    return targets | features if features.sum() <= _max_excluded_rows(len(features)) else targets


def numeric_features(dataset: Dataset) -> list[Feature]:
    """The features whose columns are numbers. A text column gets its scores later."""
    return [feature for feature in dataset.schema.numeric if feature.kind != "text"]


def _max_excluded_rows(rows: int) -> float:
    return max(MIN_FEW, MAX_ISOLATED_FRACTION * rows)


def _isolated_targets(dataset: Dataset) -> Mask:
    if dataset.schema.task != "regression":
        return np.zeros(len(dataset.target), dtype=bool)
    return ~common_range(dataset.target, MAX_ISOLATED_TARGETS).contains(dataset.target)


def _isolated_values(values: Vector) -> Mask:
    """(n,): whether each value of a column is isolated. The column may have missing values (NaN)."""
    known = ~np.isnan(values)
    return known & ~common_range(values[known]).contains(values) if known.any() else known


def isolated_cell_notices(dataset: Dataset) -> list[str]:
    """Return notices about isolated cells in numeric columns and the target, and about a last row of totals."""
    left_out = isolated_rows(dataset)
    notices = []
    for feature in numeric_features(dataset):
        notices += _column_notices(dataset, feature.name, feature.kind, left_out)
    targets = _isolated_targets(dataset)
    if targets.any():
        common = common_range(dataset.target, MAX_ISOLATED_TARGETS)
        notices.append(
            f"target {dataset.schema.target!r}: {_name_cells(dataset, dataset.target, targets, 'number')} far outside "
            f"of the others ({_describe(common, 'number')}); such rows are not used for training"
        )
    return notices + _total_row_notices(dataset, targets)


def _column_notices(dataset: Dataset, name: str, kind: Kind, left_out: Mask) -> list[str]:
    values = dataset.columns[name]
    isolated = _isolated_values(values)
    if not isolated.any():
        return []
    frequent = "" if isolated.sum() <= _max_excluded_rows(len(values)) else "; does it mean a missing value? see --na"
    consequence = (
        "such rows are not used for training" if left_out[isolated].all() else "clipped to a value near the others"
    )
    return [
        f"column {name!r}: {_name_cells(dataset, values, isolated, kind)} far outside of the others "
        f"({_describe(common_range(values[~np.isnan(values)]), kind)}); {consequence}{frequent}"
    ]


def _name_cells(dataset: Dataset, values: Vector, isolated: Mask, kind: Kind) -> str:
    """The first isolated cells with their rows, counted from 1 below the header, and a matching verb."""
    places = np.flatnonzero(isolated)
    named = [f"{_render(values[place], kind)} in row {dataset.row_numbers[place] + 1}" for place in places[:MAX_NAMED]]
    more = [f"{len(places) - MAX_NAMED} more"] if len(places) > MAX_NAMED else []
    return f"{', '.join(named + more)} {'are' if len(places) > 1 else 'is'}"


def _describe(common: CommonRange, kind: Kind) -> str:
    return f"{_render(common.low, kind)} to {_render(common.high, kind)}"


def _render(value: float, kind: Kind) -> str:
    return iso(value) if kind == "date" else render(integer_if_exact(float(value)))


def _total_row_notices(dataset: Dataset, isolated: Mask) -> list[str]:
    """A notice if the last row looks like a row of totals: its level occurs in no other row, and it has a number far
    outside of the others or a word for totals."""
    last = len(dataset.target) - 1
    for feature in dataset.schema.categorical:
        levels = dataset.columns[feature.name]
        level = levels[last]
        if not isinstance(level, str) or (levels == level).sum() != 1:
            continue
        if isolated[last] or level.strip(" :*").casefold() in TOTAL_WORDS:
            return [
                f"row {dataset.row_numbers[last] + 1}, the last row, looks like a row of totals: "
                f"no other row has {render(level)} as its {feature.name!r}; remove it from the table"
            ]
    return []
