"""Predictions while versions change: their latency alone, during promotions, and with a shadow.

An open loop sends requests at a fraction of the saturating rate. Two versions take turns as the champion: each
promotion loads a version, checks it, and frees the other one. There is a pause between two promotions, and only
requests that waited during a promotion are compared. A separate process of low priority makes the changes, so that they
do not delay the load generator: it runs `python -m loadtest.bench.version_swaps URL`. The clients have a separate core.
Requests are large, so that the load generator uses only a small part of this core. A shadow is measured after
its first rows.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx
import numpy as np

from loadtest import open_loop, request_plan
from loadtest.bench import cpu_affinity
from loadtest.bench.clients import load
from loadtest.bench.overload import CONNECTIONS
from loadtest.bench.paired_ratios import ratio
from loadtest.bench.server_process import BenchServer
from loadtest.bench.server_scenarios import tabserve_server
from loadtest.bench.servers import body, train
from loadtest.request_mix import RequestMix
from loadtest.request_plan import RequestPlan
from loadtest.response_check import MIXED_UP
from loadtest.scenarios import SCENARIOS, arrivals
from models import text_tables
from models.text import counted

MODEL = "eight"
ROWS = {"numpy": 1000, "tensorflow": 20}  # rows of a request
SHARE = 0.7  # rate of the open loop, as a fraction of the saturating rate
GOAL = 1.5  # maximum ratio of the 99th percentiles with and without changes, for NumPy
SHADOW_SHARE, SHADOW_GOAL = 0.1, 1.02
RUNS = ALONE, SWAPS, SHADOW = ("alone", "promotions", f"shadow of {SHADOW_SHARE:.0%}")
CHANGE_S = 300.0
SHADOW_ROWS = "tabserve_shadow_difference_count"
WARM_UP_S, WARM_UP_PAUSE_S = 0.1, 1.0
PAUSE_S = 0.5  # pause between two promotions
LONGEST_S = 600.0  # time limit for the process that changes versions
LOW_PRIORITY = 19  # increment of nice(1) for this process


Interval = tuple[float, float]
"""The start and the end, on the clock of time.monotonic."""


class SwapFigures(NamedTuple):
    """The figures of one run. p50 and p99 in seconds; cpu: seconds of the server for each request.

    seconds_per_swap: the median duration of a promotion.
    """

    p50: float
    p99: float
    cpu: float
    swaps: float
    seconds_per_swap: float
    failed: int


class Versions:
    """The versions of the model on a running server."""

    def __init__(self, url: str) -> None:
        new_connections = httpx.Limits(max_keepalive_connections=0)  # the server may be closing an idle connection
        self._url = url
        self._client = httpx.Client(base_url=f"{url}/models/{MODEL}", timeout=CHANGE_S, limits=new_connections)

    def put(self, what: str, content: object) -> None:
        headers = {"content-type": "application/json"}
        self._client.put(what, content=json.dumps(content), headers=headers).raise_for_status()

    def _rows_of_shadow(self) -> float:
        metrics = httpx.get(f"{self._url}/metrics", timeout=CHANGE_S).text
        return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(SHADOW_ROWS))

    def promote(self, version: int) -> None:
        self._client.post("/promote", json={"version": version}).raise_for_status()

    @contextlib.contextmanager
    def shadow(self, server: BenchServer) -> Iterator[list[Interval]]:
        """A shadow that has already predicted rows: its process has started and loaded the version."""
        before = self._rows_of_shadow()
        self.put("/aliases/challenger", {"version": 2})
        self.put("/shadow", {"alias": "challenger", "share": SHADOW_SHARE})
        deadline = time.monotonic() + CHANGE_S
        while self._rows_of_shadow() == before:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the shadow predicted no rows within {CHANGE_S:g} s")
            load(server.url, server.request, 1, WARM_UP_S, server.headers)
            time.sleep(WARM_UP_PAUSE_S)  # the process of the shadow runs only while the server is idle
        yield []
        self.put("/shadow", None)
        self._client.delete("/aliases/challenger").raise_for_status()


class PlanOfTwoVersions(RequestPlan):
    """The requests of a plan with the responses of both versions.

    A byte-identical response is not parsed, so that the responses of both versions take the same time.
    """

    def __init__(self, first: RequestPlan, second: RequestPlan) -> None:
        super().__init__(first.requests, first.mix, first.models)
        if [one.body for one in first.requests] != [one.body for one in second.requests]:
            raise ValueError("the plans have different requests")
        self._second = second

    def error_of(self, index: int, status: int, body: bytes) -> str | None:
        second = self._second.requests[index]
        if (status, body) == (second.status, second.response):
            return None
        errors = super().error_of(index, status, body), self._second.error_of(index, status, body)
        if None in errors:
            return None
        return MIXED_UP if MIXED_UP in errors else errors[0]


def make_plan(url: str, versions: Versions, rows: int) -> PlanOfTwoVersions:
    """Record the responses of both versions. Version 1 is the champion afterwards."""
    plans = []
    for version in (2, 1):
        versions.promote(version)
        plans.append(request_plan.make(url, RequestMix(one=0, many=1, invalid=0, rows=rows)))
    return PlanOfTwoVersions(*reversed(plans))


@contextlib.contextmanager
def promotions(url: str) -> Iterator[list[Interval]]:
    """Promote two versions in turn until the end of the block. Yields a list that receives the times of the
    promotions.
    """
    command = [sys.executable, "-m", "loadtest.bench.version_swaps", url]
    intervals: list[Interval] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()  # the first promotion is done
            yield intervals
            found, _ = process.communicate(timeout=CHANGE_S)
            intervals += json.loads(found)
        finally:
            process.kill()
    Versions(url).promote(1)


def swap_until_stdin_ends(url: str) -> list[Interval]:
    """Promote two versions in turn until stdin ends. Returns the start and the end of each promotion."""
    import select

    versions, until = Versions(url), time.monotonic() + LONGEST_S
    found: list[Interval] = []
    while time.monotonic() < until:
        begin = time.monotonic()
        versions.promote(2 - len(found) % 2)
        found.append((begin, time.monotonic()))
        if len(found) == 1:
            print(flush=True)
        if select.select([sys.stdin], [], [], PAUSE_S)[0]:
            break
    return found


def measure(engine: str, store: Path, home: Path, rounds: int, seconds: float) -> dict[str, list[SwapFigures]]:
    """The figures of each round."""
    contender = tabserve_server(f"tabserve, {engine}", MODEL, engine=engine)
    found: dict[str, list[SwapFigures]] = {name: [] for name in RUNS}
    rng = np.random.default_rng(0)
    client_core, server_cores = cpu_affinity.client_and_server_cores()
    with contextlib.ExitStack() as stack, cpu_affinity.pinned_to(client_core):
        with cpu_affinity.pinned_to(server_cores):
            server = BenchServer(contender, store, home, body(store, MODEL, ROWS[engine]))
        stack.callback(server.stop)
        server.wait()
        url = f"http://127.0.0.1:{server.port}"
        versions = Versions(url)
        plan = make_plan(url, versions, ROWS[engine])
        rate = SHARE * max(load(server.url, server.request, count, seconds).per_second for count in CONNECTIONS)
        for _ in range(rounds):
            for name, figures in found.items():
                due = arrivals(SCENARIOS["steady"], rate, seconds, rng)
                during: contextlib.AbstractContextManager[list[Interval]] = contextlib.nullcontext([])
                if name == SWAPS:
                    during = promotions(url)
                elif name == SHADOW:
                    during = versions.shadow(server)
                with during as swaps:
                    before = server.cpu()
                    records = open_loop.run(url, plan, due, seconds, rng=rng, timeout_s=10 * seconds)
                    used = server.cpu() - before
                compared = records.good & records.overlapping(swaps) if swaps else records.good
                p50, p99 = np.quantile(records.latency[compared], (0.5, 0.99))
                length = median(end - begin for begin, end in swaps) if swaps else 0.0
                figures.append(
                    SwapFigures(float(p50), float(p99), used / len(due), len(swaps), length, int((~records.good).sum()))
                )
        return found


def table(by_run: Mapping[str, Sequence[SwapFigures]]) -> list[list[str]]:
    lines = [["predictions", "p50 ms", "p99 ms", "p99 ÷ alone", "CPU ÷ alone", "promotions", "ms each", "failed"]]
    for name, figures in by_run.items():
        p50, p99, _, swaps, length, _ = (median(column) for column in zip(*figures, strict=True))
        costs = ratio([one.cpu for one in by_run[ALONE]], [one.cpu for one in figures]).median
        numbers = [
            f"{1e3 * p50:.2f}",
            f"{1e3 * p99:.2f}",
            f"{p99_ratio(by_run, name):.2f}",
            f"{costs:.2f}",
            f"{swaps:.0f}",
            f"{1e3 * length:.0f}",
        ]
        lines.append([name, *numbers, str(sum(one.failed for one in figures))])
    return lines


def p99_ratio(by_run: Mapping[str, Sequence[SwapFigures]], name: str) -> float:
    """The median ratio, over rounds, of the 99th percentile of a run to that of the run without changes."""
    return ratio([one.p99 for one in by_run[ALONE]], [one.p99 for one in by_run[name]]).median


def run(engines: Sequence[str], rounds: int, seconds: float, markdown: Path | None) -> int:
    """Print a table for each engine. Returns 1 if a goal is missed."""
    missed, written = False, []
    with tempfile.TemporaryDirectory(prefix="tabserve-swaps-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        store = train(home, {MODEL})
        shutil.copytree(store / MODEL / "1", store / MODEL / "2")
        for engine in engines:
            (store / "serving.json").unlink(missing_ok=True)
            found = measure(engine, store, home, rounds, seconds)
            title = (
                f"{ROWS[engine]:,} rows of 8 numbers per request, {engine}, one worker, {SHARE:.0%} of the saturating "
            )
            title += f"rate, median of {counted(rounds, 'round')} of {seconds:g} s"
            swaps, shadow = p99_ratio(found, SWAPS), p99_ratio(found, SHADOW)
            outcome = f"p99 during promotions: {swaps:.2f} times the p99 without changes"
            outcome += (
                f" (goal with numpy: at most {GOAL:g}); with a shadow {shadow:.2f} (goal: at most {SHADOW_GOAL:g})"
            )
            missed |= engine == "numpy" and (swaps > GOAL or shadow > SHADOW_GOAL)
            missed |= any(one.failed for figures in found.values() for one in figures)
            lines = table(found)
            print(f"\n{title}\n\n{text_tables.aligned(lines)}\n\n{outcome}", flush=True)
            written.append(f"{title}\n\n{text_tables.markdown(lines, numbers=True)}\n\n{outcome}\n")
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    return int(missed)


if __name__ == "__main__":
    os.nice(LOW_PRIORITY)
    print(json.dumps(swap_until_stdin_ends(sys.argv[1])))
