"""The cost of capture for a request of one row: servers with and without capture take turns.

A round is too short for the interval at which files are written, so their cost is measured separately and added.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from loadtest.bench import paired_ratios
from loadtest.bench.checkouts import CheckoutComparison, compare
from loadtest.bench.server_process import rows_of
from loadtest.bench.server_scenarios import Contender, as_json, tabserve_server
from loadtest.bench.servers import train
from models import store as model_store
from models import text_tables
from models.text import counted
from service.capture.capture_database import RowBatch
from service.capture.captured_tables import rows_as_parquet

MODEL = "housing"
SHARE = 0.1
GOAL = 1.03
CONNECTIONS = 32
FILE_ROWS = 20_000


def run(rounds: int, seconds: float) -> int:
    """Print a table. Returns 1 if the median ratio, including the files, is above the goal."""
    with tempfile.TemporaryDirectory(prefix="tabserve-capture-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        store = train(home, {MODEL})
        request = as_json(rows_of(store, MODEL, 1))
        capture = {"capture": str(home / "captured"), "capture_share": str(SHARE)}
        old, new = server("without capture", {}), server("with capture", capture)
        found, requests = compare(CheckoutComparison(old, new, request, CONNECTIONS, store, home), rounds, seconds)
        file_us = file_cost(store)
    without = [one.old.mean_cpu_us for one in found]
    ratios = {
        "CPU, median of turns": ([one.old.cpu_us for one in found], [one.new.cpu_us for one in found]),
        "CPU, mean of turns": (without, [one.new.mean_cpu_us for one in found]),
        "CPU, mean, and the files": (without, [one.new.mean_cpu_us + SHARE * file_us for one in found]),
    }
    level = 100 * paired_ratios.coverage(rounds, paired_ratios.rank_of(rounds))
    lines = [["", "without µs", "with µs", "ratio", f"{level:.3g} % interval"]]
    for name, (before, after) in ratios.items():
        ratio = paired_ratios.ratio(before, after)
        interval = f"{ratio.low:.3f} to {ratio.high:.3f}"
        lines.append([name, f"{median(before):.1f}", f"{median(after):.1f}", f"{ratio.median:.3f}", interval])
    turns = f"{counted(rounds, 'round')}, {counted(requests, 'request', spec=',')} per turn"
    print(f"{turns}; writing files costs {file_us:.1f} µs per captured row")
    print(text_tables.aligned(lines))
    return int(paired_ratios.ratio(*ratios["CPU, mean, and the files"]).median > GOAL)


def server(name: str, settings: Mapping[str, str]) -> Contender:
    return tabserve_server(name, MODEL, None, **settings)


def file_cost(store: Path) -> float:
    """The time to write a file in µs per row, the fastest of three runs."""
    model = model_store.load(model_store.unpacked_version(store / MODEL / "1"), "numpy")
    row = rows_of(store, MODEL, 1)[0]
    ids, times = [f"a1b2c3d4e5f6-{n:x}:0" for n in range(FILE_ROWS)], [1.8e9 + n for n in range(FILE_ROWS)]
    batch = RowBatch([*row], ids, times, "request", [[*row.values()]] * FILE_ROWS, [[1.25]] * FILE_ROWS)
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        rows_as_parquet(model.version, model.schema, [batch])
        best = min(best, time.process_time() - started)
    return 1e6 * best / FILE_ROWS
