"""The Prometheus metrics. Requests increment plain numbers, which is cheap. Once a second, `flush` adds the numbers to
prometheus_client, whose files add up the counts of all workers."""

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from models.rows import RowError
from service.metric_files import LostSeries
from service.process_metrics import process_page
from service.worker_records import is_alive

SECONDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DIFFERENCES = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
MultiprocessMode = Literal["livemax", "livemin", "livesum", "max"]
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


class HistogramBuckets:
    """Counts of a histogram since the last flush."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class ModelCounters:
    """The counts of one model version in one worker since the last flush, and its current gauges."""

    def __init__(self) -> None:
        self.inflight_rows = 0
        self.queue_rows = 0
        self.inline_rows = 0
        self.clear()

    def clear(self) -> None:
        self.requests: dict[tuple[str, int], int] = defaultdict(int)
        self.seconds: dict[str, HistogramBuckets] = defaultdict(partial(HistogramBuckets, SECONDS))
        self.valid_rows = self.invalid_rows = 0
        self.row_errors: dict[tuple[str, str], int] = {}  # by column and code
        self.warnings: dict[str, int] = {}
        self.rejected: dict[str, int] = {}
        self.short_deadlines = 0  # requests with a shorter timeout than the setting
        self.batch_rows = HistogramBuckets(ROWS)
        self.queue_seconds = HistogramBuckets(SECONDS)
        self.engine_seconds = HistogramBuckets(SECONDS)

    def request(self, protocol: str, status: int, seconds: float) -> None:
        """seconds: excluding the time in which the server waited for the client."""
        self.requests[protocol, status] += 1
        buckets = self.seconds[protocol]  # like `observe`, without the cost of the call
        buckets.counts[bisect_left(SECONDS, seconds)] += 1
        buckets.total += seconds

    def single_row(self, engine_seconds: float) -> None:
        """Count a valid row that was predicted alone."""
        self.valid_rows += 1
        batches, engine = self.batch_rows, self.engine_seconds
        batches.counts[0] += 1  # like `observe(1)`: 1 is the first bound
        batches.total += 1
        engine.counts[bisect_left(SECONDS, engine_seconds)] += 1
        engine.total += engine_seconds

    def count_errors(self, errors: Iterable[RowError], columns: Container[str]) -> None:
        """Count errors.

        columns: the columns with a time series. Errors of other columns and of the row itself are counted as "".
        """
        for _, name, code, _ in errors:
            key = (name if name is not None and name in columns else "", code)
            self.row_errors[key] = self.row_errors.get(key, 0) + 1

    def warn(self, codes: Iterable[str]) -> None:
        for code in codes:
            self.warnings[code] = self.warnings.get(code, 0) + 1

    def reject(self, reason: str, rows: int) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + rows


class VersionCounters(NamedTuple):
    """A served model version with its counters."""

    model: str
    version: str
    engine: str
    counters: ModelCounters


class Metrics:
    """The metrics of a server. A process has one instance, except in tests."""

    def __init__(self, lost: LostSeries | None = None) -> None:
        """lost: the time series of this worker without disk space."""
        self.registry = registry = CollectorRegistry()
        self._lost = lost
        self._sources: list[VersionCounters] = []
        self.observe_counters: Callable[[VersionCounters], None] | None = None
        """Called with the counts of each version since the last flush."""
        self._retired: set[int] = set()  # ids of the counters of versions that are no longer served

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tabserve_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, bounds: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"tabserve_{name}", text, labels, registry=registry, buckets=bounds)

        def gauge(name: str, text: str, mode: MultiprocessMode, *labels: str) -> Gauge:
            return Gauge(f"tabserve_{name}", text, labels, registry=registry, multiprocess_mode=mode)

        one = ("model", "version")
        self._requests = counter("requests", "Requests", *one, "protocol", "status")
        self._seconds = histogram("request_seconds", "Seconds from request to response", SECONDS, *one, "protocol")
        self._rows = counter("rows", "Rows validated", *one, "verdict")
        self._row_errors = counter("row_errors", "Errors of invalid rows", *one, "column", "code")
        self._warnings = counter("warnings", "Warnings returned", *one, "code")
        self._rejected = counter("rejected_rows", "Valid rows not predicted", *one, "reason")
        self._batch_rows = histogram("batch_rows", "Rows per batch", ROWS, *one)
        self._queue_seconds = histogram("queue_seconds", "Seconds in the queue", SECONDS, *one)
        self._engine_seconds = histogram("engine_seconds", "Seconds of an engine call", SECONDS, *one, "engine")
        self._inflight_rows = gauge("inflight_rows", "Rows in flight", "livesum", *one)
        self._queue_rows = gauge("queue_rows", "Rows in the queue", "livesum", *one)
        text = "Maximum rows of a request that is predicted on the event loop"
        self._inline_rows = gauge("inline_rows", text, "livemin", *one)
        self._wanted_generation = gauge("wanted_generation", "Generation of serving.json", "livemax")
        self._serving_generation = gauge("serving_generation", "Generation that all workers serve", "livemin")
        self._version_problems = gauge("version_problems", "Versions that a worker cannot load", "livemax")
        self._store_problem = gauge("store_problem", "1 while a store at a URL cannot be copied", "livemax")
        self._shadow_difference = histogram(
            "shadow_difference", "Difference between a shadow's predictions and the champion's", DIFFERENCES, *one
        )
        self._shadow_dropped = counter("shadow_dropped_rows", "Rows that a shadow has not predicted", *one)
        self._automatic_rollbacks = counter("automatic_rollbacks", "Canaries that were rolled back", "model")
        self._captured_rows = counter("capture_rows", "Rows sampled for capture, by result", *one, "result")
        self._feedback_rows = counter("feedback_rows", "Rows of feedback", "model", "result")
        live = (*one, "metric", "window")
        self._live_metric = gauge("live_metric", "Metric computed from the truth that clients report", "livemax", *live)
        self._live_low = gauge("live_metric_low", "Lower end of the interval of a live metric", "livemin", *live)
        self._live_high = gauge("live_metric_high", "Upper end of the interval of a live metric", "livemax", *live)
        text = "1 if a metric is worse than at training, else 0"
        self._live_worse = gauge("live_metric_worse", text, "livemax", *live)
        self._training_metric = gauge(
            "training_metric", "Value of a live metric at training", "livemax", *one, "metric"
        )
        info = ("model", "version", "engine")
        self._model_info = gauge("model_info", "Served model versions", "livemax", *info)
        self._build_info = gauge("build_info", "Version of tabserve", "max", "version")
        self._counter = counter
        self._keys: tuple[Counter, dict[tuple[str, int], int]] | None = None

    def add(self, model: str, version: str, engine: str) -> ModelCounters:
        """Add a version that is served from now on. Returns its counters."""
        source = VersionCounters(model, version, engine, ModelCounters())
        self._model_info.labels(*source[:3]).set(1)
        self._sources.append(source)
        return source.counters

    def retire(self, counters: ModelCounters) -> None:
        """Mark a version as no longer served. The counts of its last requests are still flushed."""
        for source in self._sources:
            if source.counters is counters:
                self._model_info.labels(*source[:3]).set(0)
                self._retired.add(id(counters))

    def build(self, version: str) -> None:
        self._build_info.labels(version).set(1)

    def count_keys(self) -> dict[tuple[str, int], int]:
        """Add the requests by key. Returns their counts since the last flush by key and status."""
        counts: dict[tuple[str, int], int] = {}
        self._keys = self._counter("key_requests", "Requests by the name of their key", "key", "status"), counts
        return counts

    def flush(self) -> None:
        """Add all counts since the last flush to prometheus_client."""
        if self._lost:
            self._lost.retry()
        if self._keys:
            metric, counts = self._keys
            for (key, status), count in counts.items():
                metric.labels(key, str(status)).inc(count)
            counts.clear()
        for source in list(self._sources):
            quiet = not source.counters.requests and not source.counters.inflight_rows
            self._flush(source)
            if quiet and id(source.counters) in self._retired:
                self._sources.remove(source)
                self._retired.discard(id(source.counters))

    def set_generations(self, wanted: int, serving: int, problems: int) -> None:
        """Set the wanted and the served generation of `serving.json`, and the number of problems."""
        self._wanted_generation.set(wanted)
        self._serving_generation.set(serving)
        self._version_problems.set(problems)

    def store_problem(self, exists: bool) -> None:
        self._store_problem.set(exists)

    def shadow(self, model: str, version: str, differences: HistogramBuckets) -> None:
        """Add the differences between a shadow's predictions and the champion's."""
        add_buckets(differences, self._shadow_difference.labels(model, version))

    def shadow_dropped(self, model: str, version: str, rows: int) -> None:
        self._shadow_dropped.labels(model, version).inc(rows)

    def automatic_rollback(self, model: str) -> None:
        self._automatic_rollbacks.labels(model).inc()

    def captured_rows(self, model: str, version: str, result: str, rows: int) -> None:
        """Count sampled rows. Threads call this, too."""
        self._captured_rows.labels(model, version, result).inc(rows)

    def feedback_rows(self, model: str, result: str, rows: int) -> None:
        """Count rows of feedback. A thread calls this."""
        self._feedback_rows.labels(model, result).inc(rows)

    def live_metric_worse(self, labels: Sequence[str], worse: bool) -> None:
        """Set whether a live metric is worse than at training."""
        self._live_worse.labels(*labels).set(worse)

    def live_metric(self, labels: Sequence[str], value: float, low: float, high: float) -> None:
        """Set a live metric and its interval. labels: model, version, metric and window."""
        self._live_metric.labels(*labels).set(value)
        self._live_low.labels(*labels).set(low)
        self._live_high.labels(*labels).set(high)

    def training_metric(self, model: str, version: str, metric: str, value: float) -> None:
        self._training_metric.labels(model, version, metric).set(value)

    def _flush(self, source: VersionCounters) -> None:
        one, counters = source[:2], source.counters
        if self.observe_counters is not None:
            self.observe_counters(source)
        for (protocol, status), count in counters.requests.items():
            self._requests.labels(*one, protocol, str(status)).inc(count)
        for metric, counts in (
            (self._rows, {"valid": counters.valid_rows, "invalid": counters.invalid_rows}),
            (self._warnings, counters.warnings),
            (self._rejected, counters.rejected),
        ):
            for label, count in counts.items():
                metric.labels(*one, label).inc(count)
        for (column, code), count in counters.row_errors.items():
            self._row_errors.labels(*one, column, code).inc(count)
        for protocol, buckets in counters.seconds.items():
            add_buckets(buckets, self._seconds.labels(*one, protocol))
        add_buckets(counters.batch_rows, self._batch_rows.labels(*one))
        add_buckets(counters.queue_seconds, self._queue_seconds.labels(*one))
        add_buckets(counters.engine_seconds, self._engine_seconds.labels(*one, source.engine))
        self._inflight_rows.labels(*one).set(counters.inflight_rows)
        self._queue_rows.labels(*one).set(counters.queue_rows)
        self._inline_rows.labels(*one).set(counters.inline_rows)
        counters.clear()

    def page(self) -> bytes:
        """The text of `/metrics`, summed over all workers except for the process metrics."""
        folder = os.environ.get(MULTIPROCESS)
        if not folder:
            return generate_latest(self.registry) + lost_series_page(0) + process_page([os.getpid()])
        forget_dead_workers(Path(folder))
        whole = CollectorRegistry()
        multiprocess.MultiProcessCollector(whole)  # type: ignore[no-untyped-call]
        lost = self._lost.server_total if self._lost else 0
        return generate_latest(whole) + lost_series_page(lost) + process_page(live_workers(Path(folder)))


def lost_series_page(count: int) -> bytes:
    """The gauge of lost time series. It is not stored in the files of the other metrics, which may be full."""
    registry = CollectorRegistry()
    Gauge("tabserve_lost_series", "Time series that are not counted, for lack of disk space", registry=registry).set(
        count
    )
    return generate_latest(registry)


def add_buckets(buckets: HistogramBuckets, child: Histogram) -> None:
    """Add counts to a histogram at once, through private names: see service.server.library_hooks.prometheus_hooks."""
    child._sum.inc(buckets.total)
    for counter, count in zip(child._buckets, buckets.counts, strict=True):
        if count:
            counter.inc(count)


def forget_dead_workers(folder: Path) -> None:
    """Remove the gauges of dead workers from the sum. Their counters stay in it."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not is_alive(pid):
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def live_workers(folder: Path) -> list[int]:
    """The process ids of the workers that have live gauges."""
    return sorted({int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")})
