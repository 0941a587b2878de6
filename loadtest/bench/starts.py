"""Compares how a server decides to run its models at a start on a busy and on a quiet machine."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loadtest.bench.server_process import BenchServer
from loadtest.bench.server_scenarios import tabserve_server
from loadtest.bench.servers import body, train
from models import text_tables

MODELS = ("eight", "housing", "income")
READY = '"message":"model ready"'
BUSY_PROGRAM = "import numpy\na = numpy.ones((500, 500))\nwhile True: a @ a; [{} for _ in range(20_000)]"
MOST_RATIO = 2.0

Decisions = dict[str, list[int]]
"""The rows that each worker predicts at once, by model."""


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes that compute all the time."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY_PROGRAM]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def decisions(store: Path, home: Path, workers: int) -> Decisions:
    """Start a server, and read the decision of each worker from its log."""
    server = BenchServer(
        tabserve_server("tabserve", "eight", models=",".join(MODELS), workers=str(workers)),
        store,
        home,
        body(store, "eight", 1),
    )
    try:
        server.wait()
        found = read_log(server.log)
        while any(len(found.get(model, ())) < workers for model in MODELS):
            server.wait()
            found = read_log(server.log)
        return found
    finally:
        server.stop()


def read_log(log: Path) -> Decisions:
    found: Decisions = {}
    for line in log.read_text("utf-8").splitlines():
        if READY in line:
            record = json.loads(line)
            found.setdefault(record["model"].partition(":")[0], []).append(record["inline_rows"])
    return found


def run(starts: int, workers: int, processes: int) -> int:
    """Print the decisions; 1 if a busy start differs by MOST_RATIO or decides for 0."""
    with tempfile.TemporaryDirectory(prefix="tabserve-starts-") as folder:
        home = Path(folder)
        print("training the models", file=sys.stderr)
        store = train(home, set(MODELS))
        quiet = decisions(store, home, workers)
        with busy(processes):
            found = []
            for number in range(starts):
                found.append(decisions(store, home, workers))
                print(f"start {number + 1}: {found[-1]}", file=sys.stderr, flush=True)
    lines = [["model", "quiet start", "lowest", "highest", "lowest ÷ quiet", "highest ÷ quiet", "unequal workers"]]
    missed = False
    for model in MODELS:
        rows, quiet_rows = [row for each in found for row in each[model]], quiet[model][0]
        unequal = sum(len(set(each[model])) > 1 for each in found)
        low, high = min(rows), max(rows)
        missed |= not quiet_rows / MOST_RATIO < low <= high < quiet_rows * MOST_RATIO
        ratios = [f"{value / max(quiet_rows, 1):.2f}" for value in (low, high)]
        lines.append([model, str(quiet_rows), str(low), str(high), *ratios, str(unequal)])
    print(f"{starts} starts of {workers} workers beside {processes} busy processes: rows predicted at once\n")
    print(text_tables.aligned(lines))
    return int(missed)
