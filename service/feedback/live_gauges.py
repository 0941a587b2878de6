"""Reports the live metrics of all served versions to Prometheus."""

import time
from typing import Any

from service.data_plane import DataPlane
from service.feedback.live_report import (
    LiveMetric,
    coverage_status,
    live_coverage,
    live_metric,
    report,
    status_of,
)
from service.feedback.live_text import metric_lines
from service.periodic_work import repeat

POLL_S = 5.0
DAY_S = 86_400.0
WINDOWS = {"24h": DAY_S, "all": None}
Labels = tuple[str, str, str, str]
"""Model, version, metric and window."""


class LiveGauges:
    """The gauges of the live metrics. All workers set them to the same values."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._worse: set[Labels] = set()
        self._reports: dict[str, list[dict[str, Any]]] = {}  # reports by model, without a window

    def lines(self) -> list[str]:
        """The live metrics of the served versions as text, a line for each version that has feedback."""
        return [line for name, versions in self._reports.items() for line in metric_lines(name, versions)]

    async def run(self) -> None:
        """Update the gauges until cancelled."""
        await repeat(self.update, POLL_S, "live metrics cannot be reported")

    async def update(self) -> None:
        """Set the gauges of all versions that have feedback. A version that is no longer served does not count as
        worse."""
        plane = self._plane
        worse: set[Labels] = set()
        self._reports = {}
        for name, entry in plane.snapshot.entries.items() if plane.live.has_feedback else ():
            desk = plane.feedback
            for window, seconds in WINDOWS.items():
                sums = await desk.run(desk.sums, name, 0.0 if seconds is None else time.time() - seconds)
                if seconds is None:
                    self._reports[name] = report(entry, sums)
                for served in entry.versions.values():
                    for metric in (live_metric(served, sums), live_coverage(served, sums)):
                        if metric is not None:
                            labels = (name, served.version, metric.name, window)
                            if self._set(labels, metric):
                                worse.add(labels)
        for labels in self._worse - worse:
            plane.metrics.live_metric_worse(labels, False)
        self._worse = worse

    def _set(self, labels: Labels, metric: LiveMetric) -> bool:
        """Set the gauges of a metric. Returns whether the metric is worse than at training."""
        metrics = self._plane.metrics
        metrics.live_metric(labels, metric.value, metric.low, metric.high)
        if metric.training is not None:
            metrics.training_metric(*labels[:3], metric.training)
        worse = (coverage_status(metric) == "low") if metric.name == "coverage" else (status_of(metric) == "worse")
        metrics.live_metric_worse(labels, worse)
        if worse:
            self._worse.add(labels)  # stored even if this update fails later
        return worse
