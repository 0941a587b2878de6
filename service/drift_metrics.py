"""The metrics of drift, computed when Prometheus reads them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MAX_COLUMNS = 100  # the columns of a version that have a time series: those with the largest PSI
STATUSES = {"ok": 0, "warning": 1, "alarm": 2}  # a sample that is too small has no time series
VERSION = ("model", "version")


class DriftCollector(Collector):
    """Collects the metrics of drift. reports: returns the reports of `DriftMonitor`, one for each version."""

    def __init__(self, reports: Sequence[Mapping[str, Any]]) -> None:
        self._reports = [report for report in reports if "window" in report]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        psi = gauge("drift_psi", "Population stability index of a column and of the prediction", *VERSION, "column")
        missing = gauge("missing_ratio", "Fraction of missing values", *VERSION, "column")
        status = gauge("drift_status", "0: no drift found, 1: warning, 2: alarm", *VERSION)
        rows = gauge("drift_rows", "Rows from which the drift statistics were computed", *VERSION)
        estimates = gauge(
            "estimated_metric", "Quality that the model estimates for its own predictions", *VERSION, "metric"
        )
        for report in self._reports:
            version = [report["model"], report["version"]]
            rows.add_metric(version, report["window"]["sampled"])
            if report["status"] in STATUSES:
                status.add_metric(version, STATUSES[report["status"]])
                for column in sorted(report["columns"], key=psi_of, reverse=True)[:MAX_COLUMNS]:
                    psi.add_metric([*version, column["name"]], column["psi"])
                    missing.add_metric([*version, column["name"]], column["missing"]["current"])
                if report["prediction"] is not None:
                    psi.add_metric([*version, "prediction"], report["prediction"]["psi"])
            for metric, value in estimated_metrics(report).items():
                estimates.add_metric([*version, metric], value)
        return psi, missing, status, rows, estimates


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tabserve_{name}", text, labels=labels)


def psi_of(column: Mapping[str, Any]) -> float:
    return float(column["psi"])


def estimated_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in (report["estimated"] or {}).items() if name in ("accuracy", "mae")}


def drift_metrics(reports: Sequence[Mapping[str, Any]]) -> bytes:
    """The metrics of these reports in Prometheus' text format; an empty text if there are no reports."""
    if not any("window" in report for report in reports):
        return b""
    registry = CollectorRegistry()
    registry.register(DriftCollector(reports))
    return generate_latest(registry)
