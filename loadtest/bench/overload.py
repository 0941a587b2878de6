"""A server under more requests than it can handle: the rate and latency of correct responses.

The saturating rate is measured in a closed loop (the best of several numbers of connections). Then an open loop sends
requests at fractions and multiples of that rate, and each response is compared with the one before the load. Each
request has many rows, so that the server is the bottleneck and not the load generator. Requests wait for a free
connection: the server rejects requests only if there are more connections than its queue has room for.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from loadtest import open_loop, request_plan
from loadtest.bench.clients import load
from loadtest.bench.server_process import BenchServer
from loadtest.bench.server_scenarios import tabserve_server
from loadtest.bench.servers import body, train
from loadtest.request_mix import RequestMix
from loadtest.request_records import RequestRecords
from loadtest.response_check import FATAL
from loadtest.scenarios import SCENARIOS, arrivals
from models import text_tables
from models.text import counted

ROWS = {"numpy": 200, "tensorflow": 20}  # rows of a request
CONNECTIONS = (8, 32, 128)
TIMES = (0.8, 1.0, 2.0, 4.0)  # rates of the open loop, as multiples of the saturating rate
OVERLOAD, GOAL = 2.0, 0.9  # minimum fraction of the best throughput at twice the saturating rate


class RateResult(NamedTuple):
    """The result at one rate. Rates per second; latencies in seconds from sending to the complete response."""

    offered: float
    correct: float
    rejected: float
    p50: float
    p99: float
    generator_cpu: float  # fraction of a core
    errors: Mapping[str, int]


def summarize(records: RequestRecords) -> RateResult:
    """The figures of the responses that arrived during the run."""
    in_time = records.done <= records.seconds
    correct = records.good & in_time
    rejected = (
        np.isin(records.kind, [n for n, kind in enumerate(records.kinds) if kind.startswith("status ")]) & in_time
    )
    latency = (records.done - records.sent)[correct]
    p50, p99 = np.quantile(latency, (0.5, 0.99)) if latency.size else (np.nan, np.nan)
    seconds, used = records.cpu[-1]
    sent = records.done > records.sent  # other requests timed out before a connection was free
    counts = {kind: int(((records.kind == n) & sent).sum()) for n, kind in enumerate(records.kinds)}
    return RateResult(
        len(records.due) / records.seconds,
        float(correct.sum()) / records.seconds,
        float(rejected.sum()) / records.seconds,
        float(p50),
        float(p99),
        used / seconds,
        {kind: count for kind, count in counts.items() if count and kind in FATAL},
    )


def table(rates: Mapping[float, Sequence[RateResult]]) -> list[list[str]]:
    head = [
        "rate / saturating rate",
        "offered / s",
        "correct / s",
        "÷ best",
        "rejected / s",
        "p50 ms",
        "p99 ms",
        "generator",
    ]
    best = max(median(one.correct for one in found) for found in rates.values())
    lines = [head]
    for times, found in rates.items():
        offered, correct, rejected, p50, p99, cpu = (
            median(figures) for figures in zip(*(one[:6] for one in found), strict=True)
        )
        figures = [f"{offered:,.0f}", f"{correct:,.0f}", f"{correct / best:.2f}", f"{rejected:,.0f}"]
        lines.append([f"{times:g}", *figures, f"{1e3 * p50:.1f}", f"{1e3 * p99:.1f}", f"{cpu:.0%}"])
    return lines


def measure(
    engine: str, store: Path, home: Path, rounds: int, seconds: float, max_connections: int
) -> dict[float, list[RateResult]]:
    """max_connections: the maximum number of connections of the open loop."""
    contender = tabserve_server(f"tabserve, {engine}", "eight", engine=engine)
    request = body(store, "eight", ROWS[engine])
    server = BenchServer(contender, store, home, request)
    try:
        server.wait()
        plan = request_plan.make(
            f"http://127.0.0.1:{server.port}", RequestMix(one=0, many=1, invalid=0, rows=ROWS[engine])
        )
        rate = max(load(server.url, request, connections, seconds).per_second for connections in CONNECTIONS)
        rng = np.random.default_rng(0)
        rates: dict[float, list[RateResult]] = {times: [] for times in TIMES}
        for _ in range(rounds):
            for times, found in rates.items():
                due = arrivals(SCENARIOS["steady"], rate * times, seconds, rng)
                url = f"http://127.0.0.1:{server.port}"
                records = open_loop.run(
                    url, plan, due, seconds, rng=rng, timeout_s=seconds, connections=max_connections
                )
                found.append(summarize(records))
        return rates
    finally:
        server.stop()


def run(engines: Sequence[str], rounds: int, seconds: float, max_connections: int, markdown: Path | None) -> int:
    """Print a table for each engine. Returns 1 if the goal is missed."""
    missed, written = 0, []
    with tempfile.TemporaryDirectory(prefix="tabserve-overload-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        store = train(home, {"eight"})
        for engine in engines:
            rates = measure(engine, store, home, rounds, seconds, max_connections)
            title = f"{ROWS[engine]} rows of 8 numbers per request, {engine}, one worker, "
            title += f"at most {counted(max_connections, 'connection', spec=',')}, median of {counted(rounds, 'round')}"
            best = max(median(one.correct for one in found) for found in rates.values())
            share = median(one.correct for one in rates[OVERLOAD]) / best
            errors = {kind: count for found in rates.values() for one in found for kind, count in one.errors.items()}
            missed += share < GOAL
            outcome = f"at {OVERLOAD:g} times the saturating rate {share:.0%} of the best throughput (goal: {GOAL:.0%})"
            outcome += f"; errors: {errors or 'none'}"
            lines = table(rates)
            print(f"\n{title}\n\n{text_tables.aligned(lines)}\n\n{outcome}", flush=True)
            written.append(f"{title}\n\n{text_tables.markdown(lines, numbers=True)}\n\n{outcome}\n")
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    return int(bool(missed))
