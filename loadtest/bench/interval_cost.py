"""The cost of intervals in the NumPy engine: the scale of the error is an additional column of the last matrix.

Plain and scaled predictions take turns, and the time is the processor time of the process. The result is the fastest
round of each, because other processes can only slow a round down.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from loadtest.bench.server_process import rows_of
from loadtest.bench.servers import train
from models import store, text_tables
from models.tabular_model import TabularModel

MODEL = "housing"
GOALS = {1: 1.0, 1000: 0.2}  # maximum additional µs per row, by number of rows in a batch
CALLS = {1: 200, 1000: 1}  # calls in a round, by number of rows


def seconds(call: Callable[[], object], count: int) -> float:
    started = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - started) / count


def cost(model: TabularModel, rows: np.ndarray, rounds: int) -> tuple[float, float]:
    """The time from encoded rows to outputs in µs per row, without and with the scale."""
    scaled, calls = model.with_scale, CALLS[len(rows)]
    plain_s, scaled_s = [], []
    for _ in range(rounds):
        plain_s.append(seconds(lambda: model.predict_encoded(rows), calls))
        scaled_s.append(seconds(lambda: scaled.predict_encoded(rows), calls))
    return 1e6 * min(plain_s) / len(rows), 1e6 * min(scaled_s) / len(rows)


def run(rounds: int) -> int:
    """Print a table. Returns 1 if the goal is missed."""
    with tempfile.TemporaryDirectory(prefix="tabserve-intervals-") as folder:
        print("training the model", file=sys.stderr)
        models = train(Path(folder), {MODEL})
        model = store.load(store.unpacked_version(models / MODEL / "1"), "numpy")
        frame = model.schema.frames.from_rows(rows_of(models, MODEL, 1))
    x = model.encoder.encode(frame)
    lines, missed = [["rows", "µs per row", "with the scale", "more", "goal"]], 0
    for count, goal in GOALS.items():
        plain, scaled = cost(model, np.repeat(x, count, axis=0), rounds)
        missed += scaled - plain > goal
        lines.append([f"{count:,}", f"{plain:.2f}", f"{scaled:.2f}", f"{scaled - plain:.2f}", f"{goal:g}"])
    print(text_tables.aligned(lines))
    return int(missed > 0)
