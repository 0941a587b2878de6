"""Compares the server of this checkout with that of another checkout: ratios of cost, memory and time to ready.

Each round starts both servers again, because two processes with the same code can differ by about a percent during
their lifetime. In a round the servers take many short turns with the same number of requests, because the speed of the
machine changes within seconds. A round gives one ratio; the result is the median ratio of all rounds with its interval.
"""

import contextlib
import dataclasses
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

from loadtest.bench import cpu_affinity, paired_ratios
from loadtest.bench.fixed_count_client import FixedCountClient
from loadtest.bench.process_usage import cpu_seconds, peak_mb
from loadtest.bench.server_process import BenchServer, rows_of
from loadtest.bench.server_scenarios import ROOT, SCENARIOS, Contender, EncodedBody, ServerScenario
from loadtest.bench.servers import train
from models import text_tables
from models.text import counted

SERVE = (sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}")
SERVICE_FILE = "bentofile.yaml"  # names the service that `bentoml serve` starts
TURNS = 40  # measured turns of each server in a round
WARM_UP_TURNS = 15  # turns before those


class ServerFigures(NamedTuple):
    """The figures of a server in a round. The worker is the largest process; shared pages count for each process."""

    cpu_us: float  # per request, of all processes: the median over turns, which is robust against disturbances
    mean_cpu_us: float  # per request, over all turns: includes rare work and disturbances
    ready_s: float
    worker_mb: float
    peak_mb: float  # peak memory of the worker
    total_mb: float
    errors: int


class ReportedFigure(NamedTuple):
    """A row of the table."""

    name: str
    pick: Callable[[ServerFigures], float]
    digits: int


QUANTITIES = (
    ReportedFigure("CPU µs / request", lambda figures: figures.cpu_us, 1),
    ReportedFigure("… mean of all turns", lambda figures: figures.mean_cpu_us, 1),
    ReportedFigure("ready s", lambda figures: figures.ready_s, 2),
    ReportedFigure("worker MB", lambda figures: figures.worker_mb, 1),
    ReportedFigure("worker peak MB", lambda figures: figures.peak_mb, 1),
    ReportedFigure("all processes MB", lambda figures: figures.total_mb, 1),
)


class PairedRound(NamedTuple):
    """The figures of both servers in one round."""

    old: ServerFigures
    new: ServerFigures


class CheckoutError(Exception):
    """A folder is not a checkout of tabserve; the message is one line."""


# One round


class ServerUnderLoad:
    """A ready server with the open connections of its client."""

    def __init__(self, server: BenchServer, connections: int) -> None:
        self.server = server
        self._processes = server.tree()
        self._turns: list[float] = []  # CPU seconds per request
        self._errors = 0
        self._client = FixedCountClient(server.url, server.request, server.headers, connections)

    def take_turn(self, requests: int) -> float:
        """Send requests. Returns the CPU seconds per request."""
        self._client.reconnect()
        before = self._cpu()
        self._errors += self._client.send(requests)
        self._turns.append((self._cpu() - before) / requests)
        return self._turns[-1]

    def _cpu(self) -> float:
        return sum(map(cpu_seconds, self._processes))

    def figures(self) -> ServerFigures:
        """The figures of all turns after the warm-up. Raises RuntimeError if a process was replaced."""
        turns = self._turns[WARM_UP_TURNS:]
        if set(self.server.tree()) != set(self._processes):
            raise RuntimeError(f"{self.server.contender.name} replaced a process while it was measured")
        worker_mb, total_mb = self.server.memory()
        return ServerFigures(
            cpu_us=1e6 * median(turns),
            mean_cpu_us=1e6 * mean(turns),
            ready_s=self.server.ready_s,
            worker_mb=worker_mb,
            peak_mb=max(map(peak_mb, self._processes)),
            total_mb=total_mb,
            errors=self._errors,
        )

    def close(self) -> None:
        self._client.close()


@dataclasses.dataclass(frozen=True)
class CheckoutComparison:
    """Two servers that receive the same request, or different requests if `new_request` is set."""

    old: Contender
    new: Contender
    request: EncodedBody
    connections: int
    store: Path
    home: Path
    new_request: EncodedBody | None = None

    @contextlib.contextmanager
    def running(self, new_first: bool) -> Iterator[tuple[ServerUnderLoad, ServerUnderLoad]]:
        """Start both servers one after the other. Yields (old, new)."""
        client_core, server_cores = cpu_affinity.client_and_server_cores()
        started = {}
        with contextlib.ExitStack() as stack, cpu_affinity.pinned_to(client_core):
            for contender in (self.new, self.old) if new_first else (self.old, self.new):
                request = self.new_request if self.new_request and contender is self.new else self.request
                with cpu_affinity.pinned_to(server_cores):
                    server = BenchServer(contender, self.store, self.home, *request)
                stack.callback(server.stop)
                server.wait()
                started[contender.name] = server
            loaded = {name: ServerUnderLoad(server, self.connections) for name, server in started.items()}
            for one in loaded.values():
                stack.callback(one.close)
            yield loaded[self.old.name], loaded[self.new.name]

    def requests_per_turn(self, seconds: float) -> int:
        """The number of requests per turn for which the old server uses this many CPU seconds in a round.

        The method also starts both servers once before the rounds, so that bytecode is compiled and files are cached.
        """
        with self.running(new_first=False) as (old, new):
            if response_of(old.server) != response_of(new.server):
                print("note: the two servers give different responses to the same request", file=sys.stderr)
            for _ in range(2):  # the first is a warm-up
                cost = old.take_turn(20 * self.connections)
        return max(self.connections, round(seconds / cost / TURNS))

    def round(self, number: int, requests: int) -> PairedRound:
        """The order of turns is old, new, new, old and so on; every second round starts with the new server."""
        new_first = number % 2 == 1
        with self.running(new_first) as (old, new):
            order = [new, old] if new_first else [old, new]
            for turn in range(WARM_UP_TURNS + TURNS):
                for server in order if turn % 2 == 0 else order[::-1]:
                    server.take_turn(requests)
            return PairedRound(old.figures(), new.figures())


def response_of(server: BenchServer) -> bytes:
    with urllib.request.urlopen(
        urllib.request.Request(server.url, server.request, server.headers), timeout=60
    ) as response:
        return bytes(response.read())


# All rounds


def compare(comparison: CheckoutComparison, rounds: int, seconds: float) -> tuple[list[PairedRound], int]:
    """Returns all rounds and the requests per turn."""
    requests = comparison.requests_per_turn(seconds)
    return [comparison.round(number, requests) for number in range(rounds)], requests


def table(rounds: Sequence[PairedRound]) -> list[list[str]]:
    lines = [["", "old", "new", "new ÷ old", "95 % interval"]]
    for name, pick, digits in QUANTITIES:
        old, new = [pick(one.old) for one in rounds], [pick(one.new) for one in rounds]
        ratio = paired_ratios.ratio(old, new)
        medians = [f"{median(values):,.{digits}f}" for values in (old, new)]
        lines.append([name, *medians, f"{ratio.median:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}"])
    errors = [str(sum(one.errors for one in side)) for side in zip(*rounds, strict=True)]
    return [*lines, ["errors", *errors, "", ""]]


def explanation(rounds: Sequence[PairedRound]) -> str:
    """The meaning of the interval, and the ratio of each round."""
    ratios = [one.new.cpu_us / one.old.cpu_us for one in rounds]
    count = len(ratios)
    rank = paired_ratios.rank_of(count)
    level = paired_ratios.coverage(count, rank)
    few = "" if level >= paired_ratios.LEVEL else "; 95 % needs at least 6 rounds"
    return (
        f"Medians over rounds. Interval: from the ratio of rank {rank} to that of rank {count + 1 - rank} of {count} "
        f"(order statistics, {100 * level:.1f} %{few}).\n"
        f"CPU ratios by round: {' '.join(f'{ratio:.3f}' for ratio in ratios)}"
    )


def run(names: Sequence[str], other: Path, rounds: int, seconds: float, markdown: Path | None) -> int:
    """Print a table for each server in the scenarios. Raises CheckoutError."""
    require_checkout(other)
    written = [f"old: {description(other)}\nnew: {description(ROOT)}"]
    print(written[0], flush=True)
    chosen = [(name, contender) for name in names for contender in compared_servers(SCENARIOS[name])]
    with tempfile.TemporaryDirectory(prefix="tabserve-bench-") as folder:
        home = Path(folder)
        print("training the models", file=sys.stderr)
        models = {contender.model for _, contender in chosen}
        store = train(home, models, other)  # the older code cannot read what the newer one stores
        for name, contender in chosen:
            comparison = comparison_of(SCENARIOS[name], contender, other, store, home)
            found, requests = compare(comparison, rounds, seconds)
            rows = contender.rows or SCENARIOS[name].rows
            title = (
                f"{name}: {contender.name}; model {contender.model}, rows per request: {rows:,}, connections: "
                f"{comparison.connections}; {counted(rounds, 'round')} of {TURNS} turns of "
                f"{counted(requests, 'request', spec=',')} for each server"
            )
            print(f"\n{title}\n\n{text_tables.aligned(table(found))}\n\n{explanation(found)}", flush=True)
            written.append(f"{title}\n\n{text_tables.markdown(table(found), numbers=True)}\n\n{explanation(found)}")
    if markdown:
        markdown.write_text("\n\n".join(written) + "\n", encoding="utf-8")
    return 0


def require_checkout(folder: Path) -> None:
    """Raises CheckoutError."""
    if not (folder / SERVICE_FILE).is_file():
        raise CheckoutError(f"{folder} is not a checkout of tabserve: it has no {SERVICE_FILE}")


def comparison_of(
    scenario: ServerScenario, contender: Contender, other: Path, store: Path, home: Path
) -> CheckoutComparison:
    request = contender.form(rows_of(store, contender.model, contender.rows or scenario.rows))
    old, new = contender_in_checkout("old", contender, other), contender_in_checkout("new", contender, ROOT)
    return CheckoutComparison(old, new, request, contender.connections or scenario.connections, store, home)


def compared_servers(scenario: ServerScenario) -> list[Contender]:
    return [contender for contender in scenario.contenders if contender.name in scenario.compared]


def contender_in_checkout(side: str, contender: Contender, folder: Path) -> Contender:
    """The same server, started by the public command, which does not depend on the module names of a checkout."""
    return dataclasses.replace(contender, name=side, command=SERVE, folder=folder.resolve())


def description(folder: Path) -> str:
    """The folder, and its commit if it is a Git checkout."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return str(folder)
    return f"{folder} ({done.stdout.strip()})"
