"""Servers beside each other: the limit, plain BentoML, an endpoint around Keras, and ours in its variants.

Each is started on a free port of its own, and loaded in turn by the same client, several rounds. What is told are
medians over rounds. Cost is the processor time of the server's whole process tree per request: it says how much of
a machine a request takes, whoever else uses it; requests per second and latencies depend on the company.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loadtest import table_format
from loadtest.bench.clients import load
from loadtest.bench.server_process import ServerMeasurements, environment, rows_of, running
from loadtest.bench.server_scenarios import (
    MOST_MB,
    MOST_READY_S,
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


def body(store: Path, model: str, count: int) -> bytes:
    return as_json(rows_of(store, model, count)).content


def measure(scenario: ServerScenario, store: Path, home: Path, rounds: int, seconds: float) -> list[ServerMeasurements]:
    with running(scenario, store, home) as all_seen:
        for number in range(rounds + 1):  # the first warms up
            for seen in all_seen:
                server = seen.server
                connections = server.contender.connections or scenario.connections
                before = server.cpu()
                length = seconds if number else min(seconds, 1.0)
                goal_line = load(server.url, server.request, connections, length, server.headers)
                if number:
                    seen.loads.append(goal_line)
                    seen.cpu_us.append((server.cpu() - before) / max(goal_line.requests, 1) * 1e6)
        for seen in all_seen:
            seen.worker_mb, _ = seen.server.memory()
    return all_seen


def table(all_seen: Sequence[ServerMeasurements]) -> list[list[str]]:
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


def picture(all_seen: Sequence[ServerMeasurements], title: str, path: Path) -> None:
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
            print(f"\n{title}\n\n{table_format.text(lines)}", flush=True)
            found = goal_results(scenario, all_seen)
            words = [line for _, line in found]
            missed += sum(not good for good, _ in found)
            print("", *words, sep="\n", flush=True)
            written.append(
                "\n".join([f"{title}\n", table_format.markdown(lines), "", *(f"- {line}" for line in words), ""])
            )
            if drawing and name == names[0]:
                picture(all_seen, title, drawing)
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    return int(bool(missed))


def models_of(scenario: ServerScenario) -> set[str]:
    return {scenario.model, *(contender.model for contender in scenario.contenders if contender.model)}


def goal_results(scenario: ServerScenario, all_seen: Sequence[ServerMeasurements]) -> list[tuple[bool, str]]:
    """Each goal of the scenario, and what holds for all of our servers on NumPy: whether it is met, and in words."""
    by_name = {seen.server.contender.name: seen for seen in all_seen}
    found = [goal.verdict(by_name) for goal in scenario.goals]
    for seen in all_seen:
        name, ready, held = seen.server.contender.name, seen.server.ready_s, seen.worker_mb
        if name.startswith(NUMPY) or name in (ONE, TWO):
            good = ready <= MOST_READY_S and held <= MOST_MB
            goal = f"at most {MOST_READY_S:g} s, {MOST_MB:g} MB"
            found.append((good, goal_line(f"{name}: ready in {ready:.1f} s, {held:.0f} MB a worker", goal, good)))
    return found
