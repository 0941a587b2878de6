"""Servers beside each other: the limit, plain BentoML, an endpoint around Keras, and ours in its variants.

Each is started on a free port of its own, and loaded in turn by the same client, several rounds. What is told are
medians over rounds. Cost is the processor time of the server's whole process tree per request: it says how much of
a machine a request takes, whoever else uses it; requests per second and latencies depend on the company.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import psutil

from loadtest import tables
from loadtest.bench.clients import JSON, Load, load

ROOT = Path(__file__).resolve().parents[2]
READY_S = 120.0
GOAL_BARE, GOAL_BENTOML = 1.5, 8.0
WIDE = "wide"  # and the number of columns: the name of a model
Row = dict[str, Any]


class Sent(NamedTuple):
    """A request's body, and the headers that say what it is."""

    content: bytes
    headers: Mapping[str, str] = JSON


Form = Callable[[Sequence[Row]], Sent]


def as_json(rows: Sequence[Row]) -> Sent:
    """The native body."""
    return Sent(json.dumps({"rows": rows}).encode())


# What is served


@dataclass(frozen=True)
class Contender:
    """A server: how it is started, where it answers, and what it is sent. {port} and {store} are filled in."""

    name: str
    command: tuple[str, ...]
    path: str
    settings: Mapping[str, str] = field(default_factory=dict)
    connections: int | None = None  # fewer than the others, where it would not answer them in time
    model: str = ""  # whose rows it is sent, where those of the scenario would not suit it
    rows: int | None = None  # so many of them, where not as many as the scenario says
    form: Form = as_json


def uvicorn(app: str) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "{port}"),
        *("--log-level", "warning", "--no-access-log"),
    )


def bento(service: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", "{port}")


def ours(name: str, model: str, **settings: str) -> Contender:
    told = {"TABSERVE_STORE": "{store}", "TABSERVE_WORKERS": "1", "TABSERVE_DRAIN_S": "0"}
    told |= {"TABSERVE_MODELS": model}
    told |= {f"TABSERVE_{key.upper()}": value for key, value in settings.items()}
    return Contender(name, bento("service.app:Tabserve"), f"/predict/{model}", told)


BARE = Contender("bare function (the limit)", uvicorn("loadtest.bench.bare_asgi:app"), "/predict", model="eight")
LOADS = Contender("orjson + NumPy (the limit)", uvicorn("loadtest.bench.bare_asgi:loads"), "/predict")
LOADS_WIDE = Contender(LOADS.name, LOADS.command, LOADS.path, {"BENCH_COLUMNS": "100"})
BENTOML = Contender("BentoML, @bentoml.api", bento("loadtest.bench.plain_bento:Plain"), "/predict")
BATCHED = Contender("BentoML, batchable=True", bento("loadtest.bench.plain_bento:Batched"), "/predict")
KERAS_FILE = {"BENCH_KERAS": "{store}/eight/1/model.keras", "TF_CPP_MIN_LOG_LEVEL": "3"}
KERAS = Contender("Starlette, Model.predict", uvicorn("loadtest.bench.keras_app:app"), "/predict", KERAS_FILE, 4)


@dataclass(frozen=True)
class Scenario:
    """A question: one body, sent to several servers. The first is what the others are compared with."""

    model: str
    rows: int
    connections: int
    contenders: tuple[Contender, ...]
    text: str


SCENARIOS = {
    "row": Scenario(
        "eight",
        1,
        32,
        (
            BARE,
            ours("tabserve, NumPy", "eight"),
            ours("tabserve, NumPy, short path off", "eight", lane="off"),
            ours("tabserve, TensorFlow", "eight", engine="tensorflow"),
            BENTOML,
            BATCHED,
            KERAS,
        ),
        "one row of 8 numbers, network 8-32-1",
    ),
    "mixed": Scenario(
        "income", 1, 32, (BARE, ours("tabserve, NumPy", "income")), "one row of income: 14 columns, network 256-256"
    ),
    "many": Scenario("eight", 1000, 8, (LOADS, ours("tabserve, NumPy", "eight")), "1,000 rows of 8 numbers"),
    "wide": Scenario(
        "wide100", 100, 8, (LOADS_WIDE, ours("tabserve, NumPy", "wide100")), "100 rows of 100 numbers, network 100-32-1"
    ),
    "tensorflow": Scenario(
        "eight",
        1,
        64,
        (
            ours("tabserve, TensorFlow, batching off", "eight", engine="tensorflow", batching="off"),
            ours("tabserve, TensorFlow, batching on", "eight", engine="tensorflow", batching="on"),
            KERAS,
        ),
        "one row of 8 numbers by TensorFlow",
    ),
    "workers": Scenario(
        "eight",
        1,
        32,
        (ours("one worker", "eight"), ours("two workers", "eight", workers="2")),
        "one row of 8 numbers, one worker and two",
    ),
}


# The models


def train(home: Path, models: set[str]) -> Path:
    """Train what is needed, a few epochs each; how good they are does not matter here. The store's folder."""
    small = ("--hidden", "32", "--bins", "0")
    few = ("--epochs", "3", "--no-baselines")
    commands = {"eight": ("housing", "--name", "eight", *small, *few), "income": ("income", *few)}
    for model in sorted(models):
        if model.startswith(WIDE):
            table = home / f"{model}.csv"
            write_wide(table, int(model.removeprefix(WIDE)))
            commands[model] = (*("--data", str(table), "--target", "y", "--framework", "numpy"), *small, *few)
        command = [sys.executable, "-m", "training", *commands[model]]
        done = subprocess.run(command, cwd=ROOT, env=environment(home), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"training {model} failed:\n{done.stderr}")
    return home / "models"


def write_wide(path: Path, columns: int) -> None:
    x = np.random.default_rng(0).normal(size=(2000, columns))
    table = np.column_stack([x, x[:, :10].sum(axis=1)])
    head = ",".join([*(f"c{column}" for column in range(columns)), "y"])
    np.savetxt(path, table, fmt="%.6g", delimiter=",", header=head, comments="")


def rows_of(store: Path, model: str, count: int) -> list[Row]:
    golden: list[Row] = json.loads((store / model / "1" / "golden.json").read_text())["rows"]
    return [golden[number % len(golden)] for number in range(count)]


def body(store: Path, model: str, count: int) -> bytes:
    return as_json(rows_of(store, model, count)).content


def environment(home: Path, **settings: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TABSERVE_", "BENTOML_"))}
    return {**kept, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **settings}


# Running them


class Server:
    """A contender that runs."""

    def __init__(
        self, contender: Contender, store: Path, home: Path, request: bytes, headers: Mapping[str, str] = JSON
    ) -> None:
        self.contender = contender
        self.request = request
        self.headers = dict(headers)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        fill = {"port": str(self.port), "store": str(store)}
        settings = {key: value.format(**fill) for key, value in contender.settings.items()}
        own_home = Path(tempfile.mkdtemp(dir=home))  # BentoML wipes the metrics of other servers of the same home
        self.log = own_home / "log"
        started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [part.format(**fill) for part in contender.command],
                cwd=ROOT,
                env=environment(own_home, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", **settings),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.url = f"http://127.0.0.1:{self.port}{contender.path}"
        self.ready_s = 0.0
        self._started = started

    def wait(self) -> None:
        """Until it answers; `ready_s` is how long that took from its start."""
        while time.monotonic() < self._started + READY_S:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.contender.name} ended:\n{self.log.read_text()[-2000:]}")
            try:
                with urllib.request.urlopen(urllib.request.Request(self.url, self.request, self.headers), timeout=10):
                    self.ready_s = time.monotonic() - self._started
                    return
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise RuntimeError(f"{self.contender.name} answers {error.code}: {error.read()[:500]!r}") from None
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{self.contender.name} does not answer:\n{self.log.read_text()[-2000:]}")

    def tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> float:
        """Seconds of processor time of the whole tree so far."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory(self) -> tuple[float, float]:
        """MB held by the largest process, which is a worker, and by the whole tree; shared pages count for each."""
        held = [0.0]
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                held.append(process.memory_info().rss / 1e6)
        return max(held), sum(held)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                for process in self.tree():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()


@dataclass
class Seen:
    """All rounds of one server."""

    server: Server
    loads: list[Load] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  # per request
    worker_mb: float = 0.0

    def median(self, pick: Callable[[Load], float]) -> float:
        return median(map(pick, self.loads))


@contextlib.contextmanager
def running(scenario: Scenario, store: Path, home: Path) -> Iterator[list[Seen]]:
    """The scenario's servers, started one after the other, and ended."""
    servers: list[Server] = []
    try:
        for contender in scenario.contenders:
            rows = rows_of(store, contender.model or scenario.model, contender.rows or scenario.rows)
            servers.append(Server(contender, store, home, *contender.form(rows)))
            servers[-1].wait()
        yield [Seen(server) for server in servers]
    finally:
        for server in servers:
            server.stop()


def measure(scenario: Scenario, store: Path, home: Path, rounds: int, seconds: float) -> list[Seen]:
    with running(scenario, store, home) as all_seen:
        for number in range(rounds + 1):  # the first warms up
            for seen in all_seen:
                server = seen.server
                connections = server.contender.connections or scenario.connections
                before = server.cpu()
                length = seconds if number else min(seconds, 1.0)
                told = load(server.url, server.request, connections, length, server.headers)
                if number:
                    seen.loads.append(told)
                    seen.cpu_us.append((server.cpu() - before) / max(told.requests, 1) * 1e6)
        for seen in all_seen:
            seen.worker_mb, _ = seen.server.memory()
    return all_seen


# Telling


def table(all_seen: Sequence[Seen]) -> list[list[str]]:
    first = median(all_seen[0].cpu_us)
    head = ["server", "CPU µs / request", "÷ first", "requests / s", "p50 ms", "p99 ms", "errors", "MB", "ready s"]
    lines = [head]
    for seen in all_seen:
        cost = median(seen.cpu_us)
        lines.append(
            [
                seen.server.contender.name,
                f"{cost:,.0f}",
                f"{cost / first:.2f}",
                f"{seen.median(lambda load: load.per_second):,.0f}",
                f"{1e3 * seen.median(lambda load: load.p50):.1f}",
                f"{1e3 * seen.median(lambda load: load.p99):.1f}",
                f"{sum(load.errors for load in seen.loads)}",
                f"{seen.worker_mb:.0f}",
                f"{seen.server.ready_s:.1f}",
            ]
        )
    return lines


def picture(all_seen: Sequence[Seen], title: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [seen.server.contender.name for seen in all_seen][::-1]
    costs = [median(seen.cpu_us) for seen in all_seen][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(names) + 1.2), layout="constrained")
    bars = axes.barh(names, costs, color=["#2a6f97" if name.startswith("tabserve") else "#a9a9a9" for name in names])
    axes.bar_label(bars, [f"{cost:,.0f}" for cost in costs], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(right=max(costs) * 3)
    axes.set_xlabel("processor time per request of the whole process tree, µs (logarithmic)")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def run(names: Sequence[str], rounds: int, seconds: float, markdown: Path | None, drawing: Path | None) -> int:
    """Measure the scenarios and print a table for each; 1 if one row costs more than its goal."""
    chosen = {name: SCENARIOS[name] for name in names}
    missed = 0
    written = []
    with tempfile.TemporaryDirectory(prefix="tabserve-bench-") as folder:
        home = Path(folder)
        print("training the models", file=sys.stderr)
        store = train(home, {scenario.model for scenario in chosen.values()})
        client = "wrk" if shutil.which("wrk") else "the bundled client (wrk is not installed)"
        for name, scenario in chosen.items():
            all_seen = measure(scenario, store, home, rounds, seconds)
            lines = table(all_seen)
            title = f"{scenario.text}; {scenario.connections} connections of {client}, median of {rounds} rounds"
            print(f"\n{title}\n\n{tables.text(lines)}", flush=True)
            written.append(f"{title}\n\n{tables.markdown(lines)}\n")
            if drawing and name == names[0]:
                picture(all_seen, title, drawing)
            if name == "row":
                missed += goals(all_seen)
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    return int(bool(missed))


def goals(all_seen: Sequence[Seen]) -> int:
    """How many goals of one row are missed; told."""
    cost = {seen.server.contender.name: median(seen.cpu_us) for seen in all_seen}
    mine = cost["tabserve, NumPy"]
    over, under = mine / cost[BARE.name], cost[BENTOML.name] / mine
    print(f"\n{over:.2f} times the bare function (goal: at most {GOAL_BARE:g})")
    print(f"{under:.1f} times less than plain BentoML (goal: at least {GOAL_BENTOML:g})")
    return (over > GOAL_BARE) + (under < GOAL_BENTOML)
