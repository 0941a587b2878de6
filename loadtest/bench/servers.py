"""Compares servers: a lower limit, plain BentoML, an endpoint around Keras, and variants of tabserve.

Each server listens on a free port. The same client puts load on them one after another, in several rounds; the results
are medians over rounds. Cost is the CPU time of all processes of a server per request. CPU time hardly depends on other
programs on the machine; requests per second and latencies do.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loadtest.bench.clients import load
from loadtest.bench.server_process import ServerMeasurements, environment, rows_of, running
from loadtest.bench.server_scenarios import (
    MAX_MB,
    MAX_READY_S,
    NUMPY,
    ONE,
    ROOT,
    SCENARIOS,
    TWO,
    WIDE,
    ServerScenario,
    as_json,
    goal_line,
)
from models import text_tables
from models.text import counted


def train(home: Path, models: set[str], checkout: Path = ROOT) -> Path:
    """Train the models with a few epochs; their quality does not matter. Returns the folder of the store.

    checkout: the checkout whose code trains the models.
    """
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
        done = subprocess.run(command, cwd=checkout, env=environment(home), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"training {model} failed:\n{done.stderr}")
    return home / "models"


def write_wide(path: Path, columns: int) -> None:
    x = np.random.default_rng(0).normal(size=(2000, columns))
    table = np.column_stack([x, x[:, :10].sum(axis=1)])
    head = ",".join([*(f"c{column}" for column in range(columns)), "y"])
    np.savetxt(path, table, fmt="%.6g", delimiter=",", header=head, comments="")


def body(store: Path, model: str, count: int) -> bytes:
    return as_json(rows_of(store, model, count)).content


def measure(scenario: ServerScenario, store: Path, home: Path, rounds: int, seconds: float) -> list[ServerMeasurements]:
    with running(scenario, store, home) as measurements:
        for number in range(rounds + 1):  # the first is a warm-up
            for measured in measurements:
                server = measured.server
                connections = server.contender.connections or scenario.connections
                before = server.cpu()
                length = seconds if number else min(seconds, 1.0)
                figures = load(server.url, server.request, connections, length, server.headers)
                if number:
                    measured.loads.append(figures)
                    measured.cpu_us.append((server.cpu() - before) / max(figures.requests, 1) * 1e6)
        for measured in measurements:
            measured.worker_mb, _ = measured.server.memory()
    return measurements


def table(measurements: Sequence[ServerMeasurements]) -> list[list[str]]:
    first = measurements[0].cost
    head = ["server", "CPU µs / request", "÷ first", "requests / s", "p50 ms", "p99 ms", "errors", "MB", "ready s"]
    lines = [head]
    for measured in measurements:
        cost = measured.cost
        lines.append(
            [
                measured.server.contender.name,
                f"{cost:,.0f}",
                f"{cost / first:.2f}",
                f"{measured.per_second:,.0f}",
                f"{1e3 * measured.median(lambda load: load.p50):.1f}",
                f"{1e3 * measured.median(lambda load: load.p99):.1f}",
                f"{sum(load.errors for load in measured.loads)}",
                f"{measured.worker_mb:.0f}",
                f"{measured.server.ready_s:.1f}",
            ]
        )
    return lines


def picture(measurements: Sequence[ServerMeasurements], title: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [measured.server.contender.name for measured in measurements][::-1]
    costs = [measured.cost for measured in measurements][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(names) + 1.2), layout="constrained")
    bars = axes.barh(names, costs, color=["#2a6f97" if name.startswith("tabserve") else "#a9a9a9" for name in names])
    axes.bar_label(bars, [f"{cost:,.0f}" for cost in costs], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(right=max(costs) * 3)
    axes.set_xlabel("CPU time per request of all processes, µs (logarithmic)")
    figure.suptitle(title, fontsize=10, wrap=True)  # over the whole width: longer than the axes
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def run(names: Sequence[str], rounds: int, seconds: float, markdown: Path | None, drawing: Path | None) -> int:
    """Measure the scenarios and print a table for each. Returns 1 if a goal is missed."""
    chosen = {name: SCENARIOS[name] for name in names}
    missed = 0
    written = []
    with tempfile.TemporaryDirectory(prefix="tabserve-bench-") as folder:
        home = Path(folder)
        print("training the models", file=sys.stderr)
        store = train(home, {model for scenario in chosen.values() for model in models_of(scenario)})
        client = "wrk" if shutil.which("wrk") else "the bundled client (wrk is not installed)"
        for name, scenario in chosen.items():
            measurements = measure(scenario, store, home, rounds, seconds)
            lines = table(measurements)
            connections = counted(scenario.connections, "connection")
            title = f"{scenario.text}; {connections} of {client}, median of {counted(rounds, 'round')}"
            print(f"\n{title}\n\n{text_tables.aligned(lines)}", flush=True)
            found = goal_results(scenario, measurements)
            words = [line for _, line in found]
            missed += sum(not good for good, _ in found)
            print("", *words, sep="\n", flush=True)
            written.append(
                "\n".join(
                    [f"{title}\n", text_tables.markdown(lines, numbers=True), "", *(f"- {line}" for line in words), ""]
                )
            )
            if drawing and name == names[0]:
                picture(measurements, title, drawing)
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    return int(bool(missed))


def models_of(scenario: ServerScenario) -> set[str]:
    return {scenario.model, *(contender.model for contender in scenario.contenders if contender.model)}


def goal_results(scenario: ServerScenario, measurements: Sequence[ServerMeasurements]) -> list[tuple[bool, str]]:
    """The goals of the scenario and those of tabserve on NumPy: whether each is met, and a line of text."""
    by_name = {measured.server.contender.name: measured for measured in measurements}
    found = [goal.evaluate(by_name) for goal in scenario.goals]
    for measured in measurements:
        name, ready, memory_mb = measured.server.contender.name, measured.server.ready_s, measured.worker_mb
        if name.startswith(NUMPY) or name in (ONE, TWO):
            good = ready <= MAX_READY_S and memory_mb <= MAX_MB
            goal = f"at most {MAX_READY_S:g} s, {MAX_MB:g} MB"
            found.append(
                (good, goal_line(f"{name}: ready in {ready:.1f} s, {memory_mb:.0f} MB per worker", goal, good))
            )
    return found
