"""More requests than a server bears: how many good answers are left, and how long they take.

The saturating rate is found in a closed loop (the best of several numbers of connections); then requests leave at parts
and multiples of it in an open loop, whether or not answers come, and each answer is compared with the one given in
quiet. Requests hold many rows each, so that it is the server that saturates, and not the generator beside it.
From then on requests wait for a connection: only with more connections than the server's queue has room for does the
server have to refuse any.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from loadtest import open_loop, plan, table_format
from loadtest.answer_check import FATAL
from loadtest.bench.clients import load
from loadtest.bench.server_process import BenchServer
from loadtest.bench.server_scenarios import ours
from loadtest.bench.servers import body, train
from loadtest.plan import RequestMix
from loadtest.request_records import RequestRecords
from loadtest.scenarios import SCENARIOS, arrivals

ROWS = {"numpy": 200, "tensorflow": 20}  # in a request
CONNECTIONS = (8, 32, 128)
TIMES = (0.8, 1.0, 2.0, 4.0)  # of the saturating rate
OVERLOAD, GOAL = 2.0, 0.9  # at twice the saturating rate so much of the best is left


class RateResult(NamedTuple):
    """What came of a rate: per second; seconds from when a good request was sent to its whole answer."""

    offered: float
    good: float
    refused: float
    p50: float
    p99: float
    busy: float  # share of a core that the generator took
    faults: Mapping[str, int]


def summarize(records: RequestRecords) -> RateResult:
    """Only what was answered while requests were offered counts."""
    in_time = records.done <= records.seconds
    good = records.good & in_time
    refused = np.isin(records.kind, [n for n, kind in enumerate(records.kinds) if kind.startswith("status ")]) & in_time
    waited = (records.done - records.sent)[good]
    p50, p99 = np.quantile(waited, (0.5, 0.99)) if waited.size else (np.nan, np.nan)
    moment, used = records.cpu[-1]
    left = records.done > records.sent  # others never found a free connection before their users gave up
    counts = {kind: int(((records.kind == n) & left).sum()) for n, kind in enumerate(records.kinds)}
    return RateResult(
        len(records.due) / records.seconds,
        float(good.sum()) / records.seconds,
        float(refused.sum()) / records.seconds,
        float(p50),
        float(p99),
        used / moment,
        {kind: count for kind, count in counts.items() if count and kind in FATAL},
    )


def table(tried: Mapping[float, Sequence[RateResult]]) -> list[list[str]]:
    head = [
        "of the saturating rate",
        "offered / s",
        "good / s",
        "÷ best",
        "refused / s",
        "p50 ms",
        "p99 ms",
        "generator",
    ]
    best = max(median(one.good for one in found) for found in tried.values())
    lines = [head]
    for times, found in tried.items():
        offered, good, refused, p50, p99, busy = (
            median(figures) for figures in zip(*(one[:6] for one in found), strict=True)
        )
        figures = [f"{offered:,.0f}", f"{good:,.0f}", f"{good / best:.2f}", f"{refused:,.0f}"]
        lines.append([f"{times:g}", *figures, f"{1e3 * p50:.1f}", f"{1e3 * p99:.1f}", f"{busy:.0%}"])
    return lines


def measure(
    engine: str, store: Path, home: Path, rounds: int, seconds: float, most: int
) -> dict[float, list[RateResult]]:
    """most: connections of the open loop."""
    contender = ours(f"tabserve, {engine}", "eight", engine=engine)
    request = body(store, "eight", ROWS[engine])
    server = BenchServer(contender, store, home, request)
    try:
        server.wait()
        asked = plan.make(f"http://127.0.0.1:{server.port}", RequestMix(one=0, many=1, invalid=0, rows=ROWS[engine]))
        rate = max(load(server.url, request, connections, seconds).per_second for connections in CONNECTIONS)
        rng = np.random.default_rng(0)
        tried: dict[float, list[RateResult]] = {times: [] for times in TIMES}
        for _ in range(rounds):
            for times, found in tried.items():
                due = arrivals(SCENARIOS["steady"], rate * times, seconds, rng)
                url = f"http://127.0.0.1:{server.port}"
                records = open_loop.run(url, asked, due, seconds, rng=rng, timeout_s=seconds, connections=most)
                found.append(summarize(records))
        return tried
    finally:
        server.stop()


def run(engines: Sequence[str], rounds: int, seconds: float, most: int, markdown: Path | None) -> int:
    """Print a table for each engine; 1 if the goal is missed."""
    missed, written = 0, []
    with tempfile.TemporaryDirectory(prefix="tabserve-overload-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        store = train(home, {"eight"})
        for engine in engines:
            tried = measure(engine, store, home, rounds, seconds, most)
            title = f"{ROWS[engine]} rows of 8 numbers a request, {engine}, one worker, at most {most:,} connections, "
            title += f"median of {rounds} rounds"
            best = max(median(one.good for one in found) for found in tried.values())
            left = median(one.good for one in tried[OVERLOAD]) / best
            faults = {kind: count for found in tried.values() for one in found for kind, count in one.faults.items()}
            missed += left < GOAL
            verdict = f"at {OVERLOAD:g} times the saturating rate {left:.0%} of the best (goal: {GOAL:.0%})"
            verdict += f"; faults: {faults or 'none'}"
            lines = table(tried)
            print(f"\n{title}\n\n{table_format.text(lines)}\n\n{verdict}", flush=True)
            written.append(f"{title}\n\n{table_format.markdown(lines)}\n\n{verdict}\n")
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    return int(bool(missed))
