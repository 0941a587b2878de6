"""Compares the decisions that starting workers make on a busy machine with those on a quiet machine."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtest.bench.server_process import READY_S, BenchServer, environment
from loadtest.bench.server_scenarios import tabserve_server
from loadtest.bench.servers import body, train
from models import text_tables
from models.text import counted

MODELS = ("eight", "housing", "income")
READY = '"message":"model ready"'
BUSY_PROGRAM = "import numpy\na = numpy.ones((500, 500))\nwhile True: a @ a; [{} for _ in range(20_000)]"
MAX_RATIO = 2.0
POLL_S = 0.1

Decisions = dict[str, list[int]]
"""For each model, the largest number of rows that each worker predicts on the event loop."""


@contextlib.contextmanager
def busy_processes(processes: int) -> Iterator[None]:
    """Run processes that compute continuously."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY_PROGRAM]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def decisions(store: Path, home: Path, workers: int, at_once: int = 1) -> list[Decisions]:
    """Start servers at the same time, and read the decision of each worker from their logs."""
    servers: list[BenchServer] = []
    try:
        for _ in range(at_once):
            contender = tabserve_server("tabserve", "eight", models=",".join(MODELS), workers=str(workers))
            servers.append(BenchServer(contender, store, home, body(store, "eight", 1)))
        return [wait_for_decisions(server, workers) for server in servers]
    finally:
        for server in servers:
            server.stop()


def decisions_without_server(store: Path, home: Path, workers: int) -> Decisions:
    """Run only the decision of the workers, in processes that share a folder; this takes a quarter of the time."""
    shared = Path(tempfile.mkdtemp(dir=home))
    command = [sys.executable, "-m", "loadtest.bench.start_decision", str(store), str(shared), *MODELS]
    threads = environment(home, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    processes = [subprocess.Popen(command, env=threads, stdout=subprocess.PIPE) for _ in range(workers)]
    log = shared / "log"
    log.write_bytes(b"".join(process.communicate(timeout=READY_S)[0] for process in processes))
    return read_log(log)


def wait_for_decisions(server: BenchServer, workers: int) -> Decisions:
    """Wait until every worker has made its decision, and return all decisions."""
    server.wait()
    while any(len(read_log(server.log).get(model, ())) < workers for model in MODELS):
        time.sleep(POLL_S)
        server.wait()
    return read_log(server.log)


def read_log(log: Path) -> Decisions:
    found: Decisions = {}
    for line in log.read_text("utf-8").splitlines():
        if READY in line:
            record = json.loads(line)
            found.setdefault(record["model"].partition(":")[0], []).append(record["inline_rows"])
    return found


def run(starts: int, workers: int, processes: int, at_once: int, alone: int) -> int:
    """Print the decisions. Returns 1 if a decision on the busy machine is 0 rows or differs by the factor
    MAX_RATIO.
    """
    with tempfile.TemporaryDirectory(prefix="tabserve-starts-") as folder:
        home = Path(folder)
        print("training the models", file=sys.stderr)
        store = train(home, set(MODELS))
        (quiet,) = decisions(store, home, workers)
        found: list[Decisions] = []
        loads: list[float] = []
        with busy_processes(processes):
            while len(found) < starts:
                found += decisions(store, home, workers, min(at_once, starts - len(found)))
                loads.append(report(found))
            while len(found) < starts + alone:
                found.append(decisions_without_server(store, home, workers))
                loads.append(report(found))
    table, missed = compare_decisions(quiet, found)
    background = f"with {counted(processes, 'busy process', 'busy processes')}" if processes else "with other work"
    what = f"{counted(starts, 'start')} of {counted(workers, 'worker')}"
    what += f" and {counted(alone, 'decision')} without a server"
    print(f"{what}, {background}, load {min(loads):.0f} to {max(loads):.0f}: rows on the event loop\n")
    print(text_tables.aligned(table))
    return int(missed)


def report(all_decisions: Sequence[Decisions]) -> float:
    """Print the last decision. Returns the load of the machine."""
    load = os.getloadavg()[0]
    print(f"start {len(all_decisions)} at a load of {load:.1f}: {all_decisions[-1]}", file=sys.stderr, flush=True)
    return load


def compare_decisions(quiet: Decisions, all_decisions: Sequence[Decisions]) -> tuple[list[list[str]], bool]:
    """A line for each model, and whether a decision is 0 or differs by the factor MAX_RATIO."""
    lines = [["model", "quiet start", "lowest", "highest", "lowest ÷ quiet", "highest ÷ quiet", "unequal workers"]]
    missed = False
    for model in MODELS:
        rows, quiet_rows = [row for each in all_decisions for row in each[model]], quiet[model][0]
        unequal = sum(len(set(each[model])) > 1 for each in all_decisions)
        low, high = min(rows), max(rows)
        missed |= not quiet_rows / MAX_RATIO < low <= high < quiet_rows * MAX_RATIO
        ratios = [f"{value / max(quiet_rows, 1):.2f}" for value in (low, high)]
        lines.append([model, str(quiet_rows), str(low), str(high), *ratios, str(unequal)])
    return lines, missed
