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
from typing import Any, Literal, NamedTuple

import numpy as np
import psutil

from loadtest import tables
from loadtest.bench.clients import JSON, Load, load
from loadtest.bench.usage import cpu_seconds
from models.row_warnings import find_warnings
from models.schema import FeatureSchema

ROOT = Path(__file__).resolve().parents[2]
READY_S = 120.0
MOST_READY_S, MOST_MB = 4.0, 150.0  # of a server that needs NumPy only
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
    folder: Path = ROOT  # where it is started


def uvicorn(app: str) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "{port}"),
        *("--log-level", "warning", "--no-access-log"),
    )


def bento(service: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", "{port}")


def ours(name: str, model: str, rows: int | None = None, **settings: str) -> Contender:
    told = {"TABSERVE_STORE": "{store}", "TABSERVE_WORKERS": "1", "TABSERVE_DRAIN_S": "0"}
    told |= {"TABSERVE_MODELS": model}
    told |= {f"TABSERVE_{key.upper()}": value for key, value in settings.items()}
    return Contender(name, bento("service.app:Tabserve"), f"/predict/{model}", told, model=model, rows=rows)


BARE = Contender("bare function (the limit)", uvicorn("loadtest.bench.bare_asgi:app"), "/predict", model="eight")
LOADS = Contender("orjson + NumPy (the limit)", uvicorn("loadtest.bench.bare_asgi:loads"), "/predict")
LOADS_WIDE = Contender(LOADS.name, LOADS.command, LOADS.path, {"BENCH_COLUMNS": "100"})
BENTOML = Contender("BentoML, @bentoml.api", bento("loadtest.bench.plain_bento:Plain"), "/predict")
BATCHED = Contender("BentoML, batchable=True", bento("loadtest.bench.plain_bento:Batched"), "/predict")
KERAS_FILE = {"BENCH_KERAS": "{store}/eight/1/model.keras", "TF_CPP_MIN_LOG_LEVEL": "3"}
KERAS = Contender("Starlette, Model.predict", uvicorn("loadtest.bench.keras_app:app"), "/predict", KERAS_FILE, 4)


def bare_model(name: str, model: str) -> Contender:
    """The limit with this model's own body, encoder and network."""
    settings = {"BENCH_VERSION": f"{{store}}/{model}/1"}
    return Contender(name, uvicorn("loadtest.bench.bare_model:app"), "/predict", settings)


NUMPY, TENSORFLOW = "tabserve, NumPy", "tabserve, TensorFlow"


@dataclass(frozen=True)
class Goal:
    """How `ours` has to stand beside `other` in the same run."""

    ours: str
    other: str
    kind: Literal["cost", "saving", "requests"]
    number: float  # at most so many times its cost; at least so many times less; at least so many times its requests

    def verdict(self, all_seen: "Sequence[Seen]") -> tuple[bool, str]:
        """Whether it is met, and in words."""
        by_name = {seen.server.contender.name: seen for seen in all_seen}
        mine, theirs = by_name[self.ours], by_name[self.other]
        if self.kind == "cost":
            found, words = mine.cost / theirs.cost, "times the cost of"
        elif self.kind == "saving":
            found, words = theirs.cost / mine.cost, "times less than"
        else:
            found, words = mine.per_second / theirs.per_second, "times the requests of"
        good = found <= self.number if self.kind == "cost" else found >= self.number
        goal = f"{'at most' if self.kind == 'cost' else 'at least'} {self.number:g}"
        return good, told(f"{self.ours}: {found:,.2f} {words} {self.other}", goal, good)


def told(found: str, goal: str, good: bool) -> str:
    return f"{found} (goal: {goal}){'' if good else ', MISSED'}"


@dataclass(frozen=True)
class Scenario:
    """A question: one body, sent to several servers. The first is what the others are compared with."""

    model: str
    rows: int
    connections: int
    contenders: tuple[Contender, ...]
    text: str
    goals: tuple[Goal, ...] = ()
    beside: tuple[str, ...] = (NUMPY,)  # the contenders that `--beside` compares with those of another checkout


OFF, ON, ONE, TWO = f"{TENSORFLOW}, batching off", f"{TENSORFLOW}, batching on", "one worker", "two workers"
OWN = "bare function with the default network"
SMALL = "tabserve, NumPy, network 32-1"

SCENARIOS = {
    "row": Scenario(
        "eight",
        1,
        32,
        (
            BARE,
            ours(NUMPY, "eight"),
            ours(f"{NUMPY}, short path off", "eight", lane="off"),
            ours(TENSORFLOW, "eight", engine="tensorflow"),
            BENTOML,
            BATCHED,
            KERAS,
        ),
        "one row of 8 numbers, network 8-32-1",
        (Goal(NUMPY, BARE.name, "cost", 1.5), Goal(NUMPY, BENTOML.name, "saving", 8)),
    ),
    "mixed": Scenario(
        "income",
        1,
        32,
        (
            BARE,
            ours(SMALL, "income32"),
            bare_model(OWN, "income"),
            ours(NUMPY, "income"),
            ours(f"{NUMPY}, short path off", "income", lane="off"),
        ),
        "one row of income: 14 columns (the first: 8 numbers), networks of 32-1 and the default one",
        (Goal(SMALL, BARE.name, "cost", 2.5), Goal(NUMPY, OWN, "cost", 2.5)),
        (SMALL, NUMPY),
    ),
    "default": Scenario(
        "housing",
        1,
        32,
        (BARE, bare_model(OWN, "housing"), ours(NUMPY, "housing")),
        "one row of housing: 8 numbers, the default network (the first: network 8-32-1)",
    ),
    "many": Scenario(
        "eight",
        1000,
        8,
        (LOADS, ours(NUMPY, "eight")),
        "1,000 rows of 8 numbers",
        (Goal(NUMPY, LOADS.name, "cost", 3),),
    ),
    "wide": Scenario(
        "wide100",
        1000,
        8,
        (LOADS_WIDE, ours(NUMPY, "wide100")),
        "1,000 rows of 100 numbers, network 100-32-1",
        (Goal(NUMPY, LOADS_WIDE.name, "cost", 3),),
    ),
    "tensorflow": Scenario(
        "eight",
        1,
        64,
        (
            ours(OFF, "eight", engine="tensorflow", batching="off"),
            ours(ON, "eight", engine="tensorflow", batching="on"),
            KERAS,
        ),
        "one row of 8 numbers by TensorFlow",
        (Goal(ON, OFF, "requests", 3), Goal(ON, KERAS.name, "requests", 100)),
        (OFF, ON),
    ),
    "workers": Scenario(
        "eight",
        1,
        32,
        (
            ours(ONE, "eight", 100),
            ours(TWO, "eight", 100, workers="2"),
            ours(f"{ONE}, one row", "eight"),
            ours(f"{TWO}, one row", "eight", workers="2"),
        ),
        "100 rows of 8 numbers, and one, one worker and two",
        (Goal(TWO, ONE, "requests", 1.5),),
        (ONE, TWO),
    ),
}


# The models


def train(home: Path, models: set[str]) -> Path:
    """Train what is needed, a few epochs each; how good they are does not matter here. The store's folder."""
    small = ("--hidden", "32", "--bins", "0")
    few = ("--epochs", "3", "--no-baselines")
    commands: dict[str, tuple[str, ...]] = {"eight": ("housing", "--name", "eight", *small, *few)}
    commands |= {"income32": ("income", "--name", "income32", *small, *few)}
    commands |= {name: (name, *few) for name in ("housing", "income")}
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
    """So many golden rows; those of which there would be something to say are left out, where there are others."""
    folder = store / model / "1"
    schema = FeatureSchema.from_json((folder / "features.json").read_bytes())
    golden: list[Row] = json.loads((folder / "golden.json").read_text())["rows"]
    usual = [row for row in golden if not find_warnings(schema, schema.frames.from_rows([row]))] or golden
    return [usual[number % len(usual)] for number in range(count)]


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
                cwd=contender.folder,
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
                total += cpu_seconds(process)
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

    @property
    def cost(self) -> float:
        """µs of processor time per request."""
        return median(self.cpu_us)

    @property
    def per_second(self) -> float:
        return self.median(lambda load: load.per_second)


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
    first = all_seen[0].cost
    head = ["server", "CPU µs / request", "÷ first", "requests / s", "p50 ms", "p99 ms", "errors", "MB", "ready s"]
    lines = [head]
    for seen in all_seen:
        cost = seen.cost
        lines.append(
            [
                seen.server.contender.name,
                f"{cost:,.0f}",
                f"{cost / first:.2f}",
                f"{seen.per_second:,.0f}",
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
    costs = [seen.cost for seen in all_seen][::-1]
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
    """Measure the scenarios and print a table for each; 1 if a goal is missed."""
    chosen = {name: SCENARIOS[name] for name in names}
    missed = 0
    written = []
    with tempfile.TemporaryDirectory(prefix="tabserve-bench-") as folder:
        home = Path(folder)
        print("training the models", file=sys.stderr)
        store = train(home, {model for scenario in chosen.values() for model in models_of(scenario)})
        client = "wrk" if shutil.which("wrk") else "the bundled client (wrk is not installed)"
        for name, scenario in chosen.items():
            all_seen = measure(scenario, store, home, rounds, seconds)
            lines = table(all_seen)
            title = f"{scenario.text}; {scenario.connections} connections of {client}, median of {rounds} rounds"
            print(f"\n{title}\n\n{tables.text(lines)}", flush=True)
            found = verdicts(scenario, all_seen)
            words = [line for _, line in found]
            missed += sum(not good for good, _ in found)
            print("", *words, sep="\n", flush=True)
            written.append("\n".join([f"{title}\n", tables.markdown(lines), "", *(f"- {line}" for line in words), ""]))
            if drawing and name == names[0]:
                picture(all_seen, title, drawing)
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    return int(bool(missed))


def models_of(scenario: Scenario) -> set[str]:
    return {scenario.model, *(contender.model for contender in scenario.contenders if contender.model)}


def verdicts(scenario: Scenario, all_seen: Sequence[Seen]) -> list[tuple[bool, str]]:
    """Each goal of the scenario, and what holds for all of our servers on NumPy: whether it is met, and in words."""
    found = [goal.verdict(all_seen) for goal in scenario.goals]
    for seen in all_seen:
        name, ready, held = seen.server.contender.name, seen.server.ready_s, seen.worker_mb
        if name.startswith(NUMPY) or name in (ONE, TWO):
            good = ready <= MOST_READY_S and held <= MOST_MB
            goal = f"at most {MOST_READY_S:g} s, {MOST_MB:g} MB"
            found.append((good, told(f"{name}: ready in {ready:.1f} s, {held:.0f} MB a worker", goal, good)))
    return found
