"""Hooks into prometheus_client: adding many counts to a histogram at once, and the files of its multiprocess mode."""

import os
import tempfile
from pathlib import Path

from prometheus_client import Histogram, multiprocess

from models.library_hook import LibraryHook, refers_to


def _check_histogram() -> str | None:
    return refers_to(Histogram._metric_init, "_sum", "_buckets")


def _check_gauge_files() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"gauge_livesum_{os.getpid()}.db")
        file.touch()
        multiprocess.mark_process_dead(os.getpid(), folder)  # type: ignore[no-untyped-call]
        return f"mark_process_dead does not remove {file.name}" if file.exists() else None


HISTOGRAM = LibraryHook(
    "Histogram._sum and Histogram._buckets",
    "prometheus-client",
    "Latencies and batch sizes are missing from the metrics.",
    _check_histogram,
)
GAUGE_FILES = LibraryHook(
    "the file names gauge_live*_PID.db",
    "prometheus-client",
    "What a worker that died had in its queue stays in the metrics.",
    _check_gauge_files,
)
HOOKS = (HISTOGRAM, GAUGE_FILES)
