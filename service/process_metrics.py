"""The standard `process_*` metrics of each worker: memory, processor time, file descriptors, start time."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class WorkerProcesses(Collector):
    """Reads /proc of each worker. prometheus_client does not have these metrics for several processes."""

    def __init__(self, workers: Sequence[int]) -> None:
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        metrics: dict[str, Metric] = {}
        for worker in self._workers:
            for found in ProcessCollector(pid=lambda worker=worker: worker, registry=None).collect():  # type: ignore[misc]
                metric = metrics.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    metric.add_sample(sample.name, {"worker": str(worker)}, sample.value)
        return metrics.values()


def process_page(workers: Sequence[int]) -> bytes:
    """The metrics of these processes in Prometheus' text format; empty on a system without /proc."""
    registry = CollectorRegistry()
    registry.register(WorkerProcesses(workers))
    return generate_latest(registry)
