"""The limits of API keys on a running server: rates over its workers, and the shares of clients under overload."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from loadtest.bench.clients import LoadFigures
from loadtest.bench.key_cost import KEYS_FILE, create_key
from loadtest.bench.server_process import BenchServer
from loadtest.bench.server_scenarios import goal_line, tabserve_server
from loadtest.bench.servers import body, train
from models import text_tables

MODEL = "eight"
TOLERANCE = 0.1
RATES, WORKERS, BURST = (5, 100, 5000), 4, 1
CLIENTS = 2  # processes that send requests with the same key
CONNECTIONS = {"first": 96, "second": 24, "third": 12}  # connections of each key under overload
ROWS = (1, 100, 1000)  # rows of a request under overload


@contextlib.contextmanager
def running(
    store: Path, home: Path, keys: Path, headers: Mapping[str, str], rows: int, workers: int
) -> Iterator[BenchServer]:
    server = tabserve_server("tabserve", MODEL, workers=str(workers))
    settings = {**server.settings, KEYS_FILE: str(keys)}
    started = BenchServer(
        dataclasses.replace(server, settings=settings), store, home, body(store, MODEL, rows), headers
    )
    try:
        started.wait()
        yield started
    finally:
        started.stop()


def load_together(
    server: BenchServer, clients: Sequence[tuple[int, Mapping[str, str]]], seconds: float
) -> list[LoadFigures]:
    """Load a server by several processes at once, each with its connections and headers."""
    found = []
    with contextlib.ExitStack() as stack:
        processes = []
        for connections, headers in clients:
            arguments = [server.url, str(connections), str(seconds), json.dumps(dict(headers))]
            command = [sys.executable, "-m", "loadtest.bench.clients", *arguments]
            process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(server.request)
            process.stdin.close()
        for process in processes:
            assert process.stdout is not None
            found.append(LoadFigures(**json.loads(process.stdout.read())))
    return found


def accepted(figures: LoadFigures) -> int:
    return figures.requests - figures.errors


def rates(store: Path, home: Path, seconds: float) -> list[tuple[float, float]]:
    """Each rate, and the accepted requests per second."""
    keys, found = home / "rates.json", []
    for rate in RATES:
        headers = create_key(keys, f"rate-{rate}", "--rate", str(rate), "--burst", str(BURST))
        with running(store, home, keys, headers, 1, WORKERS) as server:
            time.sleep(BURST / rate)
            figures = load_together(server, [(4 * WORKERS, headers)] * CLIENTS, seconds)
            longest = max(one.seconds for one in figures)
            found.append((float(rate), (sum(map(accepted, figures)) - BURST) / longest))
    return found


def shares(store: Path, home: Path, seconds: float) -> list[tuple[int, dict[str, float]]]:
    """The number of rows of a request, and the share of each key in all answers."""
    keys, found = home / "shares.json", []
    headers = {name: create_key(keys, name) for name in CONNECTIONS}
    for rows in ROWS:
        with running(store, home, keys, headers["first"], rows, 1) as server:
            clients = [(connections, headers[name]) for name, connections in CONNECTIONS.items()]
            answers = [accepted(figures) for figures in load_together(server, clients, seconds)]
        found.append((rows, {name: count / sum(answers) for name, count in zip(CONNECTIONS, answers, strict=True)}))
    return found


def run(rounds: int, seconds: float, markdown: Path | None) -> int:
    """Print two tables. Returns 1 if a goal is missed."""
    rate_lines, share_lines, worst = [["rate / s", "accepted / s", "ratio"]], [["rows", *CONNECTIONS]], 0.0
    with tempfile.TemporaryDirectory(prefix="tabserve-keys-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        store = train(home, {MODEL})
        for _ in range(rounds):
            for rate, found in rates(store, home, seconds):
                (home / "rates.json").unlink(missing_ok=True)
                rate_lines.append([f"{rate:,.0f}", f"{found:,.1f}", f"{found / rate:.3f}"])
                worst = max(worst, abs(found / rate - 1))
            for rows, each in shares(store, home, seconds):
                share_lines.append([f"{rows:,}", *(f"{share:.3f}" for share in each.values())])
                worst = max(worst, *(abs(3 * share - 1) for share in each.values()))
            (home / "shares.json").unlink()
    connections = ", ".join(map(str, CONNECTIONS.values()))
    titles = (
        f"one key, {WORKERS} workers, {CLIENTS} clients that send as fast as they can, {seconds:g} s",
        f"three keys with {connections} connections, one worker, share of each in the answers, {seconds:g} s",
    )
    outcome = goal_line(f"the largest deviation: {100 * worst:.1f} %", "at most 10 %", worst <= TOLERANCE)
    tables = (rate_lines, share_lines)
    text = "\n\n".join(f"{title}\n\n{text_tables.aligned(lines)}" for title, lines in zip(titles, tables, strict=True))
    print(f"\n{text}\n\n{outcome}", flush=True)
    if markdown:
        parts = [f"{title}\n\n{text_tables.markdown(lines)}" for title, lines in zip(titles, tables, strict=True)]
        markdown.write_text("\n\n".join([*parts, outcome]) + "\n", encoding="utf-8")
    return int(worst > TOLERANCE)
