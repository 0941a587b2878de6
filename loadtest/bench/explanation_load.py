"""Predictions while explanations are computed: their latency without, and with a client that requests explanations.

An open loop sends requests at fractions of the saturating rate. Each request has 200 rows, so that the client is not
the bottleneck. In a third run another process at nice 19 computes continuously. On a machine without a free core that
process alone delays predictions, and only the additional delay is caused by explanations. The clients have a separate
core, so that explanations delay only the server; the client that requests them has a low priority there.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import psutil

from loadtest import open_loop, request_plan
from loadtest.bench import cpu_affinity
from loadtest.bench.clients import JSON, load
from loadtest.bench.paired_ratios import ratio
from loadtest.bench.server_process import BenchServer
from loadtest.bench.server_scenarios import tabserve_server
from loadtest.bench.servers import body, train
from loadtest.request_mix import RequestMix
from loadtest.scenarios import SCENARIOS, arrivals
from models import text_tables
from models.text import counted

MODEL = "housing"
ROWS = 200  # rows of a request
SHARES = (0.3, 0.7)  # rates of the open loop, as fractions of the saturating rate
CONNECTIONS = 32
START_S = 1.0  # time for a client or another process to start
GOAL = 1.2  # maximum ratio of the 99th percentiles with and without explanations
LOW_PRIORITY = 19  # the nice value of the client that requests explanations, and of the other process
SPIN = f"import os; os.nice({LOW_PRIORITY})\nwhile True: pass"
RUNS = ("alone", "with explanations", f"with another process at nice {LOW_PRIORITY}")


class LatencyFigures(NamedTuple):
    """The figures of one run. p50 and p99 in seconds; idle: the fraction of the machine's processor time that was not
    used."""

    p50: float
    p99: float
    idle: float
    explained: float = 0.0  # explanations per second, including START_S before and after the predictions


@contextlib.contextmanager
def explanations(server: BenchServer, request: bytes, seconds: float) -> Iterator[list[float]]:
    """Request explanations of single rows over one connection. Yields a list that receives their rate at the end."""
    arguments = [f"{server.url}?explain=true", "1", str(seconds + 2 * START_S), json.dumps(dict(JSON))]
    command = [sys.executable, "-m", "loadtest.bench.clients", *arguments]
    rates: list[float] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, LOW_PRIORITY)
            process.stdin.write(request)
            process.stdin.close()
            time.sleep(START_S)
            yield rates
            found = json.loads(process.stdout.read())
        finally:
            process.kill()
    if found["errors"] or not found["requests"]:
        raise RuntimeError(f"explanations failed: {found}")
    rates.append(found["requests"] / found["seconds"])


@contextlib.contextmanager
def busy_process() -> Iterator[list[float]]:
    with cpu_affinity.pinned_to(cpu_affinity.client_and_server_cores()[1]):
        process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        time.sleep(START_S)
        yield []
    finally:
        process.kill()
        process.wait()


def measure(store: Path, home: Path, rounds: int, seconds: float) -> dict[float, dict[str, list[LatencyFigures]]]:
    """The figures of each round, by the rate of predictions per second."""
    request, explained = (body(store, MODEL, rows) for rows in (ROWS, 1))
    rng = np.random.default_rng(0)
    client_core, server_cores = cpu_affinity.client_and_server_cores()
    with contextlib.ExitStack() as stack, cpu_affinity.pinned_to(client_core):
        with cpu_affinity.pinned_to(server_cores):
            server = BenchServer(tabserve_server("tabserve", MODEL), store, home, request)
        stack.callback(server.stop)
        server.wait()
        with explanations(server, explained, 0.0):
            pass  # the first request starts the explanation process
        saturating = load(server.url, request, CONNECTIONS, seconds).per_second
        found: dict[float, dict[str, list[LatencyFigures]]] = {
            share * saturating: {name: [] for name in RUNS} for share in SHARES
        }
        for _ in range(rounds):
            for rate, runs in found.items():
                for name, figures in runs.items():
                    figures.append(measure_run(name, server, explained, rate, seconds, rng))
        return found


def measure_run(
    name: str, server: BenchServer, explained: bytes, rate: float, seconds: float, rng: np.random.Generator
) -> LatencyFigures:
    """The figures of one run. name: one of RUNS. explained: the request whose row is explained."""
    url = f"http://127.0.0.1:{server.port}"
    plan = request_plan.make(url, RequestMix(one=0, many=1, invalid=0, rows=ROWS))
    due = arrivals(SCENARIOS["steady"], rate, seconds, rng)
    background: contextlib.AbstractContextManager[list[float]] = contextlib.nullcontext([])
    if name == RUNS[1]:
        background = explanations(server, explained, seconds)
    elif name == RUNS[2]:
        background = busy_process()
    with background as rates:
        psutil.cpu_times_percent()  # the next call measures from here
        records = open_loop.run(url, plan, due, seconds, rng=rng, timeout_s=10 * seconds, connections=CONNECTIONS)
        idle = psutil.cpu_times_percent().idle / 100
    p50, p99 = np.quantile((records.done - records.due)[records.good], (0.5, 0.99))
    return LatencyFigures(float(p50), float(p99), idle, *rates)


def run(rounds: int, seconds: float, markdown: Path | None) -> int:
    """Print a table for each rate. Returns 1 if the goal is missed."""
    with tempfile.TemporaryDirectory(prefix="tabserve-explanations-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        by_rate = measure(train(home, {MODEL}), home, rounds, seconds)
    missed, written = False, []
    for share, (rate, found) in zip(SHARES, by_rate.items(), strict=True):
        lines = table(found)
        with_explanations, with_another = (p99_ratio(found, name) for name in RUNS[1:])
        title = f"{rate:,.0f} requests with {ROWS} rows of {MODEL} per second ({share:.0%} of the saturating rate), "
        title += f"one worker, median of {counted(rounds, 'round')}"
        outcome = (
            f"p99 with explanations: {with_explanations:.2f} times that of predictions alone (goal: at most {GOAL:g}); "
        )
        outcome += f"with another process at nice 19: {with_another:.2f} times"
        print(f"\n{title}\n\n{text_tables.aligned(lines)}\n\n{outcome}", flush=True)
        written.append(f"{title}\n\n{text_tables.markdown(lines, numbers=True)}\n\n{outcome}\n")
        missed |= with_explanations > GOAL
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    return int(missed)


def p99_ratio(by_run: dict[str, list[LatencyFigures]], name: str) -> float:
    """The median ratio, over rounds, of the 99th percentile of a run to that of the run without explanations."""
    return ratio([one.p99 for one in by_run[RUNS[0]]], [one.p99 for one in by_run[name]]).median


def table(by_run: dict[str, list[LatencyFigures]]) -> list[list[str]]:
    lines = [["predictions", "p50 ms", "p99 ms", "p99 ÷ alone", "idle", "explanations / s"]]
    for name, figures in by_run.items():
        p50, p99, idle, explained = (median(column) for column in zip(*figures, strict=True))
        compared = f"{p99_ratio(by_run, name):.2f}"
        lines.append([name, f"{1e3 * p50:.2f}", f"{1e3 * p99:.2f}", compared, f"{idle:.0%}", f"{explained:.0f}"])
    return lines
