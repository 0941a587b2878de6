"""Bulk scoring compared with loops that read Parquet in chunks and predict: Keras, MLflow and LightGBM.

The table is generated. Each contender runs alone in separate processes. The time of bulk scoring includes the start of
its command. The time of a loop starts after its model is loaded. Memory is the sum of the peaks of the processes.
"""

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from loadtest.bench.process_usage import cpu_seconds, peak_mb
from loadtest.bench.server_process import environment
from loadtest.bench.servers import train
from models import store, text_tables
from models.schema import FeatureSchema

MODEL = "housing"
FILE_ROWS, GROUP_ROWS = 4_000_000, 250_000
POLL_S = 0.05
LOOPS = ("keras --batch 32", "keras --batch 4096", "keras --batch 65536", "mlflow", "lightgbm")
MISSING = 3  # exit code of a loop whose library is not installed


@dataclass
class BulkFigures:
    """The time and the memory of a contender."""

    name: str
    rows: int
    seconds: float
    peak_mb: float
    note: str = ""
    cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


@dataclass
class PeakMonitor:
    """Records the peak memory and the CPU time of each process in a tree until it is stopped."""

    root: psutil.Process
    peaks: dict[int, float] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)

    def watch(self, ended: threading.Event) -> None:
        while not ended.wait(POLL_S):
            try:
                for process in (self.root, *self.root.children(recursive=True)):
                    known = self.peaks.get(process.pid, 0.0)  # a process that has ended reports 0
                    self.peaks[process.pid] = max(known, peak_mb(process))
                    self.cpu[process.pid] = max(self.cpu.get(process.pid, 0.0), cpu_seconds(process))
            except psutil.NoSuchProcess:
                continue


def run(rows: int, loop_rows: int, workers: int, markdown: Path | None) -> int:
    """Print the table. loop_rows: the number of rows that the loops read. Returns 1 if a contender fails."""
    with tempfile.TemporaryDirectory(prefix="tabserve-bulk-") as name:
        folder = Path(name)
        print("training the model", file=sys.stderr)
        models = train(folder, {MODEL})
        version = store.unpacked_version(models / MODEL / "1").path
        print("writing the table", file=sys.stderr)
        inputs = folder / "in"
        written = write_table(inputs, FeatureSchema.from_json((version / "features.json").read_bytes()), rows)
        words = ["-m", "scoring", MODEL, str(inputs), "--out", str(folder / "out"), "--workers", str(workers)]
        figures = [measured("tabserve score", words, rows, models)]
        for loop in LOOPS:
            words = ["-m", "loadtest.bench.bulk_loops", *loop.split(), str(version), str(inputs), str(loop_rows)]
            figures.append(measured(loop, words, min(rows, loop_rows), models))
    print(f"{rows:,} rows, {written / 1e9:.2f} GB of Parquet; the loops read {min(rows, loop_rows):,} rows")
    lines = table(figures)
    print(text_tables.aligned(lines))
    if markdown:
        markdown.write_text(text_tables.markdown(lines, numbers=True), encoding="utf-8")
    return int(any("failed" in one.note for one in figures))


def table(figures: list[BulkFigures]) -> list[list[str]]:
    ours = figures[0]
    lines = [["", "rows/s", "times as fast", "CPU µs a row", "times the CPU", "peak MB", "rows", "note"]]
    for one in figures:
        if not one.rows:
            lines.append([one.name, "", "", "", "", "", "", one.note])
            continue
        cpu, our_cpu = (each.cpu_seconds / each.rows * 1e6 for each in (one, ours))
        compared = f"{one.rate:,.0f}", f"{ours.rate / one.rate:.2f}", f"{cpu:.1f}", f"{cpu / our_cpu:.2f}"
        lines.append([one.name, *compared, f"{one.peak_mb:.0f}", f"{one.rows:,}", one.note])
    return lines


def write_table(folder: Path, schema: FeatureSchema, rows: int) -> int:
    """Write files of random rows within the ranges of training. Returns their size in bytes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        count = min(FILE_ROWS, rows - start)
        with pq.ParquetWriter(folder / f"{number:04d}.parquet", arrow_schema(schema)) as writer:
            for group in range(0, count, GROUP_ROWS):
                size = min(GROUP_ROWS, count - group)
                columns = [pa.array(rng.uniform(*feature.seen_range, size)) for feature in schema.features]
                writer.write_table(pa.table(columns, schema=arrow_schema(schema)), row_group_size=size)
    return sum(path.stat().st_size for path in folder.iterdir())


def arrow_schema(schema: FeatureSchema) -> pa.Schema:
    return pa.schema([pa.field(feature.name, pa.float64()) for feature in schema.features])


def measured(name: str, words: list[str], rows: int, models: Path) -> BulkFigures:
    """Run a contender until it ends."""
    print(name, file=sys.stderr)
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *words],
        env=environment(models.parent, TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    watch, ended = PeakMonitor(psutil.Process(process.pid)), threading.Event()
    thread = threading.Thread(target=watch.watch, args=(ended,), daemon=True)
    thread.start()
    printed, _ = process.communicate()
    seconds = time.monotonic() - started
    ended.set()
    thread.join()
    if process.returncode not in (0, MISSING):
        return BulkFigures(name, 0, 0, 0, f"failed with exit code {process.returncode}")
    peak, last = sum(watch.peaks.values()), printed.strip().splitlines()[-1]
    if "scoring" in words:
        return BulkFigures(name, rows, seconds, peak, cpu_seconds=sum(watch.cpu.values()))
    of_loop, cpu, note = last.split(" ", 2)
    return BulkFigures(name, rows if process.returncode == 0 else 0, float(of_loop), peak, note, float(cpu))
