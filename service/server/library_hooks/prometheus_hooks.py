"""Hooks into prometheus_client: adding many counts to a histogram at once, and the files of its multiprocess mode."""

import os
import tempfile
from pathlib import Path

from prometheus_client import Histogram, multiprocess, values
from prometheus_client.mmap_dict import MmapedDict

from models.library_hook import LibraryHook, first_problem, parameter_problem, reference_problem


def _check_histogram() -> str | None:
    return reference_problem(Histogram._metric_init, "_sum", "_buckets")


def _check_gauge_files() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"gauge_livesum_{os.getpid()}.db")
        file.touch()
        multiprocess.mark_process_dead(os.getpid(), folder)  # type: ignore[no-untyped-call]
        return f"mark_process_dead does not remove {file.name}" if file.exists() else None


def _check_metric_files() -> str | None:
    return first_problem(
        parameter_problem(MmapedDict.__init__, "filename"),
        reference_problem(MmapedDict.__init__, "_f", "_m", "_capacity", "_used", "_positions"),
        reference_problem(MmapedDict._init_value, "_f", "_m", "_capacity", "_used", "_positions"),
        reference_problem(MmapedDict.read_value, "_positions", "_init_value"),
        reference_problem(MmapedDict.write_value, "_positions", "_init_value"),
        reference_problem(values.MultiProcessValue, "MmapedDict", "read_value", "write_value"),
    )


HISTOGRAM = LibraryHook(
    "Histogram._sum and Histogram._buckets",
    "prometheus-client",
    "Latencies and batch sizes are missing from the metrics.",
    _check_histogram,
)
GAUGE_FILES = LibraryHook(
    "the file names gauge_live*_PID.db",
    "prometheus-client",
    "The queue of a worker that died stays in the metrics.",
    _check_gauge_files,
)
METRIC_FILES = LibraryHook(
    "values.MmapedDict",
    "prometheus-client",
    "A worker dies when a metric is counted for the first time while the disk is full.",
    _check_metric_files,
)
HOOKS = (HISTOGRAM, GAUGE_FILES, METRIC_FILES)
