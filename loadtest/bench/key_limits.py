"""The limits of API keys on a running server: rates over all workers, and each client's share of the responses under
overload."""

import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from loadtest.bench import shared_client
from loadtest.bench.key_cost import KEYS_FILE, create_key
from loadtest.bench.server_process import BenchServer
from loadtest.bench.server_scenarios import goal_line, tabserve_server
from loadtest.bench.servers import body, train
from loadtest.bench.shared_client import ClientResponses
from models import text_tables
from models.text import counted

MODEL = "eight"
TOLERANCE = 0.1
BURSTS, WORKERS = {5: 1, 100: 2, 5000: 100}, 4  # burst of each rate: the requests of 20 ms
RATE_CONNECTIONS = 16
# Connections of each key, as multiples of those of the third key.
CONNECTIONS = {"first": 8, "second": 2, "third": 1}
# Connections of the third key, by rows per request: enough that a request is always waiting.
SCALES = {1: 48, 100: 48, 1000: 12}


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


class MeasuredRate(NamedTuple):
    """Requests per second with a rate-limited key. accepted: answered with 200. sent: all requests."""

    rate: float
    accepted: float
    sent: float
    busy: float

    @property
    def deviation(self) -> float:
        return abs(self.accepted / self.rate - 1)


class MeasuredShares(NamedTuple):
    """Each key's share of the accepted requests with this number of rows."""

    rows: int
    shares: Mapping[str, float]
    accepted: float
    limited: float
    busy: float

    @property
    def deviation(self) -> float:
        return max(abs(len(self.shares) * share - 1) for share in self.shares.values())


def rates(store: Path, home: Path, seconds: float) -> list[MeasuredRate]:
    keys, found = home / "rates.json", []
    for rate, burst in BURSTS.items():
        headers = create_key(keys, f"rate-{rate}", "--rate", str(rate), "--burst", str(burst))
        other = create_key(keys, f"start-{rate}")
        with running(store, home, keys, other, 1, WORKERS) as server:
            one = shared_client.run(server.url, server.request, [(RATE_CONNECTIONS, headers)], seconds)
        [responses] = one.responses
        require_responses(responses)
        sent = (responses.accepted + responses.limited) / one.seconds
        found.append(MeasuredRate(rate, responses.accepted / one.seconds, sent, one.busy))
    return found


def shares(store: Path, home: Path, seconds: float) -> list[MeasuredShares]:
    keys, found = home / "shares.json", []
    headers = {name: create_key(keys, name) for name in CONNECTIONS}
    for rows, scale in SCALES.items():
        clients = [(scale * connections, headers[name]) for name, connections in CONNECTIONS.items()]
        with running(store, home, keys, headers["first"], rows, 1) as server:
            one = shared_client.run(server.url, server.request, clients, seconds)
        for responses in one.responses:
            require_responses(responses)
        accepted, limited = (sum(getattr(each, name) for each in one.responses) for name in ("accepted", "limited"))
        shares = {name: each.accepted / accepted for name, each in zip(CONNECTIONS, one.responses, strict=True)}
        found.append(MeasuredShares(rows, shares, accepted / one.seconds, limited / one.seconds, one.busy))
    return found


def require_responses(responses: ClientResponses) -> None:
    """Raises RuntimeError if a request failed or none was accepted, because then the limits were not measured."""
    if responses.failed or not responses.accepted:
        raise RuntimeError(f"{counted(responses.accepted, 'request')} accepted, {responses.failed} failed")


def run(rounds: int, seconds: float, markdown: Path | None) -> int:
    """Print two tables. Returns 1 if a goal is missed."""
    rate_lines = [["rate / s", "accepted / s", "ratio", "sent / s", "client busy"]]
    share_lines = [["rows", *CONNECTIONS, "accepted / s", "429 / s", "client busy"]]
    deviations = []
    with tempfile.TemporaryDirectory(prefix="tabserve-keys-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        store = train(home, {MODEL})
        for _ in range(rounds):
            for rate in rates(store, home, seconds):
                figures = [f"{rate.accepted:,.1f}", f"{rate.accepted / rate.rate:.3f}", f"{rate.sent:,.0f}"]
                rate_lines.append([f"{rate.rate:,.0f}", *figures, f"{rate.busy:.0%}"])
                deviations.append(rate.deviation)
            for each in shares(store, home, seconds):
                numbers = [f"{share:.3f}" for share in each.shares.values()]
                loads = [f"{each.accepted:,.0f}", f"{each.limited:,.0f}", f"{each.busy:.0%}"]
                share_lines.append([f"{each.rows:,}", *numbers, *loads])
                deviations.append(each.deviation)
            for name in ("rates.json", "shares.json"):
                (home / name).unlink()
    connections = ", ".join(str(SCALES[1] * count) for count in CONNECTIONS.values())
    titles = (
        f"one key, {WORKERS} workers, {RATE_CONNECTIONS} connections that send as fast as they can, {seconds:g} s",
        f"three keys with {connections} connections (a quarter of them with 1,000 rows), one worker, each key's "
        f"share of the responses, {seconds:g} s",
    )
    worst = max(deviations)
    outcome = goal_line(f"the largest deviation: {100 * worst:.1f} %", "at most 10 %", worst <= TOLERANCE)
    tables = (rate_lines, share_lines)
    text = "\n\n".join(f"{title}\n\n{text_tables.aligned(lines)}" for title, lines in zip(titles, tables, strict=True))
    print(f"\n{text}\n\n{outcome}", flush=True)
    if markdown:
        parts = [f"{title}\n\n{text_tables.markdown(lines)}" for title, lines in zip(titles, tables, strict=True)]
        markdown.write_text("\n\n".join([*parts, outcome]) + "\n", encoding="utf-8")
    return int(worst > TOLERANCE)
