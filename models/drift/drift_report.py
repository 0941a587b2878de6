"""The drift report: statistics of each column and of the predictions, and a status."""

from collections.abc import Sequence
from typing import Any, Literal

from models.drift.counter import CountedColumn, DriftCounts
from models.drift.reference import CategoryReference, Counts, DriftReference, NumberReference
from models.drift.significance import p_value, psi
from models.schema import FeatureSchema

FALSE_ALARMS = 1e-4  # the probability that a window without drift has any warning
MIN_ROWS = 200  # with fewer rows the status is small_sample
MIN_ALARM_ROWS = 500
LARGE_PSI = 0.1
Status = Literal["ok", "small_sample", "warning", "alarm"]
SEVERITY: Sequence[Status] = ("small_sample", "ok", "warning", "alarm")


def drift_report(schema: FeatureSchema, reference: DriftReference, counts: DriftCounts) -> dict[str, Any]:
    """The fields `status`, `columns`, `prediction` and `estimated` of the response to `GET /drift`."""
    tests = len(reference.columns) + (reference.prediction is not None)
    columns = [
        {"name": column.name, "type": schema.by_name[column.name].kind} | column_report(column, counted, tests)
        for column, counted in zip(reference.columns, counts.columns, strict=True)
    ]
    prediction = None
    if reference.prediction is not None and counts.prediction is not None:
        prediction = column_report(reference.prediction, counts.prediction, tests)
        del prediction["missing"], prediction["unseen"]
    statuses: list[Status] = [column["status"] for column in columns]
    if prediction is not None:
        statuses.append(prediction["status"])
    return {
        "status": max(statuses, key=SEVERITY.index),
        "columns": columns,
        "prediction": prediction,
        "estimated": estimated_quality(reference, counts),
    }


def column_report(column: NumberReference | CategoryReference, counted: CountedColumn, tests: int) -> dict[str, Any]:
    """The report on one column. `outside` is the fraction of values outside the range seen, `unseen` the fraction of
    unseen levels."""
    reference, current = column.cells, counted.cells
    rows = int(current.sum())
    p = p_value(reference, current)
    index = psi(reference, current)
    categorical = isinstance(column, CategoryReference)
    return {
        "psi": rounded(index),
        "p": rounded(p),
        "missing": {"reference": share(reference, -1), "current": share(current, -1)},
        "unseen": share(current, -2) if categorical else 0.0,
        "outside": 0.0 if categorical else rounded(counted.outside / max(rows, 1)),
        "status": status(index, p, rows, tests),
    }


def status(index: float, p: float, rows: int, tests: int) -> Status:
    """The status of one column. tests: the number of tests in a window, which share the probability of a false
    alarm."""
    if rows < MIN_ROWS:
        return "small_sample"
    if p >= FALSE_ALARMS / tests:
        return "ok"
    return "alarm" if index >= LARGE_PSI and rows >= MIN_ALARM_ROWS else "warning"


def estimated_quality(reference: DriftReference, counts: DriftCounts) -> dict[str, float] | None:
    """The metric that the model estimates for current rows and for test rows, and the metric measured on the test
    rows."""
    estimate = reference.estimate
    if estimate is None or not counts.estimated:
        return None
    return {
        estimate.metric: rounded(counts.estimate),
        "reference": rounded(estimate.value),
        "measured": rounded(estimate.measured),
    }


def share(cells: Counts, position: int) -> float:
    return rounded(int(cells[position]) / max(int(cells.sum()), 1))


def rounded(value: float) -> float:
    return float(f"{value:.6g}")
