"""The drift report as text."""

from collections.abc import Mapping
from typing import Any

from models.text_tables import align_columns

HEAD = ("column", "type", "psi", "p", "missing", "unseen", "outside", "status")


def drift_table(report: Mapping[str, Any]) -> str:
    """A line for each column, the worst first, then the prediction and the estimated quality."""
    lines = [HEAD, *map(column_cells, sorted(report["columns"], key=lambda column: -float(column["psi"])))]
    if report["prediction"] is not None:
        lines.append(column_cells({"name": "(prediction)", "type": "", **report["prediction"]}))
    return "\n".join([*align_columns(lines, left=(0, 1)), *estimate_lines(report), f"status: {report['status']}"])


def column_cells(column: Mapping[str, Any]) -> tuple[str, ...]:
    missing = column.get("missing")
    return (
        column["name"],
        column["type"],
        f"{column['psi']:.3f}",
        f"{column['p']:.2g}",
        f"{percent(missing['reference'])} -> {percent(missing['current'])}" if missing else "",
        percent(column.get("unseen", 0.0)),
        percent(column["outside"]),
        column["status"],
    )


def estimate_lines(report: Mapping[str, Any]) -> list[str]:
    found = report["estimated"]
    if found is None:
        return []
    metric = next(iter(found))
    on_test_rows = f"{found['reference']:.4g} on the test rows, where {found['measured']:.4g} was measured"
    return [f"estimated {metric}: {found[metric]:.4g}; {on_test_rows}"]


def percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share else "-"
