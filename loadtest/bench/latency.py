"""Compares the latency of this checkout with that of another one, at a fraction of the rate that saturates the other.

Both servers alternately answer the same open loop: requests are due at random times, whether or not earlier ones are
answered. A round gives one ratio of 99th percentiles. The client has a separate core.
"""

import contextlib
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from loadtest.bench import checkouts, cpu_affinity, paired_ratios
from loadtest.bench.clients import load
from loadtest.bench.paced_client import PacedClient
from loadtest.bench.server_process import BenchServer, rows_of
from loadtest.bench.server_scenarios import ROOT, as_json, tabserve_server
from loadtest.bench.servers import train
from loadtest.scenarios import SCENARIOS, arrivals
from models import text_tables
from models.text import counted

MODEL, CONNECTIONS = "eight", 32
SHARE = 0.7  # rate of the open loop, as a fraction of the saturating rate
ROWS = (1, 1000)  # rows of a request


def saturating_rate(server: BenchServer, seconds: float) -> float:
    """The requests per second that a closed loop reaches."""
    return load(server.url, server.request, CONNECTIONS, seconds, server.headers).per_second


def p99(server: BenchServer, rate: float, seconds: float, rng: np.random.Generator) -> float:
    """The 99th percentile of the seconds from due time to response. Raises RuntimeError if a request failed."""
    due = arrivals(SCENARIOS["steady"], rate, seconds, rng)
    with contextlib.closing(PacedClient(server.url, server.request, CONNECTIONS, server.headers)) as client:
        return float(np.quantile(client.run(due, 10 * seconds), 0.99))


def run(other: Path, rounds: int, seconds: float, markdown: Path | None) -> int:
    """Print a table. Raises CheckoutError."""
    checkouts.require_checkout(other)
    written = [f"old: {checkouts.description(other)}\nnew: {checkouts.description(ROOT)}"]
    contender = tabserve_server("tabserve", MODEL)
    rng = np.random.default_rng(0)
    level = f"{100 * paired_ratios.coverage(rounds, paired_ratios.rank_of(rounds)):.3g} % interval"
    lines = [["rows per request", "requests / s", "old p99 ms", "new p99 ms", "new ÷ old", level]]
    client_core, server_cores = cpu_affinity.client_and_server_cores()
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tabserve-latency-")))
        print("training the model", file=sys.stderr)
        store = train(home, {MODEL}, other)
        stack.enter_context(cpu_affinity.pinned_to(client_core))
        for rows in ROWS:
            body = as_json(rows_of(store, MODEL, rows))
            with cpu_affinity.pinned_to(server_cores):
                servers = [
                    BenchServer(checkouts.contender_in_checkout(side, contender, path), store, home, *body)
                    for side, path in (("old", other), ("new", ROOT))
                ]
            try:
                for server in servers:
                    server.wait()
                    saturating_rate(server, 1.0)  # a warm-up
                rate = SHARE * saturating_rate(servers[0], seconds)
                found = [[p99(server, rate, seconds, rng) for server in servers] for _ in range(rounds)]
            finally:
                for server in servers:
                    server.stop()
            old, new = zip(*found, strict=True)
            ratio = paired_ratios.ratio(old, new)
            medians = [f"{1e3 * median(values):.2f}" for values in (old, new)]
            interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
            lines.append([f"{rows:,}", f"{rate:,.0f}", *medians, f"{ratio.median:.2f}", interval])
    title = f"p99 at {SHARE:.0%} of the rate that saturates the old server"
    written.append(f"{title}; one worker, {counted(rounds, 'round')} of {seconds:g} s")
    print("\n\n".join([*written, text_tables.aligned(lines)]), flush=True)
    if markdown:
        text = "\n\n".join([*written, text_tables.markdown(lines, numbers=True)])
        markdown.write_text(text + "\n", encoding="utf-8")
    return 0
