"""The server of this checkout beside that of another one, in one run: cost, memory and time to ready as ratios.

Every round starts both servers afresh, because two processes that run the same code differ by about a percent for as
long as they live. In a round they take many short turns of the same number of requests, because the speed of the
machine changes within seconds. A round gives one ratio; the result is the median ratio of all rounds and its interval.
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

from loadtest import table_format
from loadtest.bench import cpu_affinity, paired_ratios
from loadtest.bench.fixed_count_client import FixedCountClient
from loadtest.bench.process_usage import cpu_seconds, peak_mb
from loadtest.bench.server_process import BenchServer, rows_of
from loadtest.bench.server_scenarios import ROOT, SCENARIOS, Contender, EncodedBody, ServerScenario
from loadtest.bench.servers import train

SERVE = (sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}")
SERVICE_FILE = "bentofile.yaml"  # names the service that `bentoml serve` starts in a folder
TURNS = 40  # of each server in a round that are measured
WARM_UP_TURNS = 15  # before those, not measured


class ServerFigures(NamedTuple):
    """What a round measured of one server. A worker is the largest process; shared pages count for each process."""

    cpu_us: float  # per request, of all processes: the median of the turns, which a disturbed turn does not change
    mean_cpu_us: float  # per request, of all turns together: it includes what happens seldom, and every disturbance
    ready_s: float
    worker_mb: float
    peak_mb: float  # of the worker
    total_mb: float
    errors: int


class ReportedFigure(NamedTuple):
    """A line of the table."""

    name: str
    pick: Callable[[ServerFigures], float]
    digits: int


QUANTITIES = (
    ReportedFigure("CPU µs / request", lambda measured: measured.cpu_us, 1),
    ReportedFigure("… mean of all turns", lambda measured: measured.mean_cpu_us, 1),
    ReportedFigure("ready s", lambda measured: measured.ready_s, 2),
    ReportedFigure("worker MB", lambda measured: measured.worker_mb, 1),
    ReportedFigure("worker MB at its peak", lambda measured: measured.peak_mb, 1),
    ReportedFigure("all processes MB", lambda measured: measured.total_mb, 1),
)


class PairedRound(NamedTuple):
    """Both servers in one round."""

    old: ServerFigures
    new: ServerFigures


class CheckoutError(Exception):
    """A folder whose server cannot be started; the message is one line."""


# One round


class ServerUnderLoad:
    """A server that is ready, with its client's open connections."""

    def __init__(self, server: BenchServer, connections: int) -> None:
        self.server = server
        self._processes = server.tree()
        self._turns: list[float] = []  # seconds of processor time per request
        self._errors = 0
        self._client = FixedCountClient(server.url, server.request, server.headers, connections)

    def take_turn(self, requests: int) -> float:
        """Load it; the seconds of processor time per request."""
        self._client.reconnect()
        before = self._cpu()
        self._errors += self._client.send(requests)
        self._turns.append((self._cpu() - before) / requests)
        return self._turns[-1]

    def _cpu(self) -> float:
        return sum(map(cpu_seconds, self._processes))

    def measured(self) -> ServerFigures:
        """All turns after the warm-up. Raises RuntimeError where other processes answer than at the start."""
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
    """Two checkouts' servers, started alike and sent the same request."""

    old: Contender
    new: Contender
    request: EncodedBody
    connections: int
    store: Path
    home: Path

    @contextlib.contextmanager
    def running(self, new_first: bool) -> Iterator[tuple[ServerUnderLoad, ServerUnderLoad]]:
        """Both servers (old, new), started one after the other."""
        client_core, server_cores = cpu_affinity.shared_out()
        started = {}
        with contextlib.ExitStack() as stack, cpu_affinity.on(client_core):
            for contender in (self.new, self.old) if new_first else (self.old, self.new):
                with cpu_affinity.on(server_cores):
                    server = BenchServer(contender, self.store, self.home, *self.request)
                stack.callback(server.stop)
                server.wait()
                started[contender.name] = server
            loaded = {name: ServerUnderLoad(server, self.connections) for name, server in started.items()}
            for one in loaded.values():
                stack.callback(one.close)
            yield loaded[self.old.name], loaded[self.new.name]

    def requests_of_a_turn(self, seconds: float) -> int:
        """As many as take the old server, in all turns of a round, so many seconds of processor time.

        It also starts both servers once before the rounds, so that bytecode is compiled and files are cached.
        """
        with self.running(new_first=False) as (old, new):
            if answer(old.server) != answer(new.server):
                print("note: the two servers answer the same request differently", file=sys.stderr)
            for _ in range(2):  # the first warms up
                cost = old.take_turn(20 * self.connections)
        return max(self.connections, round(seconds / cost / TURNS))

    def round(self, number: int, requests: int) -> PairedRound:
        """Old, new, new, old and so on; in every second round the new one is first."""
        new_first = number % 2 == 1
        with self.running(new_first) as (old, new):
            order = [new, old] if new_first else [old, new]
            for turn in range(WARM_UP_TURNS + TURNS):
                for server in order if turn % 2 == 0 else order[::-1]:
                    server.take_turn(requests)
            return PairedRound(old.measured(), new.measured())


def answer(server: BenchServer) -> bytes:
    with urllib.request.urlopen(
        urllib.request.Request(server.url, server.request, server.headers), timeout=60
    ) as reply:
        return bytes(reply.read())


# All rounds


def compare(comparison: CheckoutComparison, rounds: int, seconds: float) -> tuple[list[PairedRound], int]:
    """All rounds, and the requests of a turn."""
    requests = comparison.requests_of_a_turn(seconds)
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


def explained(rounds: Sequence[PairedRound]) -> str:
    """What the interval is, and every round's ratio."""
    ratios = [one.new.cpu_us / one.old.cpu_us for one in rounds]
    count = len(ratios)
    rank = paired_ratios.rank_of(count)
    told = paired_ratios.coverage(count, rank)
    few = "" if told >= paired_ratios.LEVEL else "; 95 % needs at least 6 rounds"
    return (
        f"Medians over rounds. Interval: from the ratio of rank {rank} to that of rank {count + 1 - rank} of {count} "
        f"(order statistics, {100 * told:.1f} %{few}).\n"
        f"CPU ratios by round: {' '.join(f'{ratio:.3f}' for ratio in ratios)}"
    )


def run(names: Sequence[str], beside: Path, rounds: int, seconds: float, markdown: Path | None) -> int:
    """Print a table for each server of the scenarios. Raises CheckoutError."""
    if not (beside / SERVICE_FILE).is_file():
        raise CheckoutError(f"{beside} is no checkout: it has no {SERVICE_FILE}")
    written = [f"old: {described(beside)}\nnew: {described(ROOT)}"]
    print(written[0], flush=True)
    chosen = [(name, contender) for name in names for contender in compared(SCENARIOS[name])]
    with tempfile.TemporaryDirectory(prefix="tabserve-bench-") as folder:
        home = Path(folder)
        print("training the models", file=sys.stderr)
        store = train(home, {contender.model for _, contender in chosen})
        for name, contender in chosen:
            comparison = comparison_of(SCENARIOS[name], contender, beside, store, home)
            found, requests = compare(comparison, rounds, seconds)
            rows = contender.rows or SCENARIOS[name].rows
            title = (
                f"{name}: {contender.name}; model {contender.model}, rows per request: {rows:,}, connections: "
                f"{comparison.connections}; {rounds} rounds of {TURNS} turns of {requests:,} requests for each server"
            )
            print(f"\n{title}\n\n{table_format.text(table(found))}\n\n{explained(found)}", flush=True)
            written.append(f"{title}\n\n{table_format.markdown(table(found))}\n\n{explained(found)}")
    if markdown:
        markdown.write_text("\n\n".join(written) + "\n", encoding="utf-8")
    return 0


def comparison_of(
    scenario: ServerScenario, contender: Contender, beside: Path, store: Path, home: Path
) -> CheckoutComparison:
    request = contender.form(rows_of(store, contender.model, contender.rows or scenario.rows))
    old, new = started_in("old", contender, beside), started_in("new", contender, ROOT)
    return CheckoutComparison(old, new, request, contender.connections or scenario.connections, store, home)


def compared(scenario: ServerScenario) -> list[Contender]:
    return [contender for contender in scenario.contenders if contender.name in scenario.beside]


def started_in(side: str, contender: Contender, folder: Path) -> Contender:
    """The same server by the public command, which does not depend on how a checkout names its modules."""
    return dataclasses.replace(contender, name=side, command=SERVE, folder=folder.resolve())


def described(folder: Path) -> str:
    """The folder, and its commit where Git reports it."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return str(folder)
    return f"{folder} ({done.stdout.strip()})"
