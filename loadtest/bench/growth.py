"""How the cost of a request grows: with columns, with rows, with the number of models served and of workers.

Each point is a server of its own with one worker (but for the last), measured as in `servers`, the points of a line in
turn. Tables are of numbers, the network 32 units wide, as the question is the way there and not the network.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from loadtest import table_format
from loadtest.bench.server_process import ServerMeasurements
from loadtest.bench.server_scenarios import WIDE, Contender, ServerScenario, ours
from loadtest.bench.servers import measure, train

COLUMNS = (8, 32, 128, 512)
ROWS = (1, 10, 100, 1000, 10_000)
MODELS = (1, 10, 50, 200)
WORKERS = (1, 2, 4)


@dataclass(frozen=True)
class GrowthSeries:
    """One question, and the number that varies in it."""

    name: str
    numbers: Sequence[int]
    scenario: ServerScenario


def many(count: int) -> Contender:
    """A server of so many models, of which one is asked."""
    server = ours(f"{count}", "eight")
    names = ["eight", *copies(count)]
    return replace(server, settings={**server.settings, "TABSERVE_MODELS": ",".join(names)})


def copies(count: int) -> list[str]:
    return [f"copy{number}" for number in range(1, count)]


LINES = (
    GrowthSeries(
        "columns",
        COLUMNS,
        ServerScenario(
            "eight",
            1,
            32,
            tuple(replace(ours(f"{n}", f"{WIDE}{n}"), model=f"{WIDE}{n}") for n in COLUMNS),
            "one row, by its columns",
        ),
    ),
    GrowthSeries(
        "rows",
        ROWS,
        ServerScenario(
            "eight",
            1,
            8,
            tuple(replace(ours(f"{n}", "eight"), rows=n) for n in ROWS),
            "rows of 8 numbers, by their number in a request",
        ),
    ),
    GrowthSeries(
        "models",
        MODELS,
        ServerScenario("eight", 1, 32, tuple(many(n) for n in MODELS), "one row of 8 numbers, by the models served"),
    ),
    GrowthSeries(
        "workers",
        WORKERS,
        ServerScenario(
            "eight",
            1,
            32,
            tuple(ours(f"{n}", "eight", workers=str(n)) for n in WORKERS),
            "one row of 8 numbers, by workers",
        ),
    ),
)


def copy(store: Path, count: int) -> None:
    """The model `eight` again under other names."""
    for name in copies(count):
        folder = store / name / "1"
        shutil.copytree(store / "eight" / "1", folder)
        features = json.loads((folder / "features.json").read_text("utf-8"))
        (folder / "features.json").write_text(json.dumps({**features, "name": name}), encoding="utf-8")


def table(line: GrowthSeries, points: Sequence[ServerMeasurements]) -> list[list[str]]:
    """Cost of a request beside that of the first point, and of a row."""
    first = median(points[0].cpu_us)
    lines = [[line.name, "CPU µs / request", "÷ first", "CPU µs / row", "requests / s", "p99 ms", "MB", "ready s"]]
    for number, seen in zip(line.numbers, points, strict=True):
        cost = median(seen.cpu_us)
        lines.append(
            [
                f"{number:,}",
                f"{cost:,.0f}",
                f"{cost / first:.2f}",
                f"{cost / (seen.server.contender.rows or 1):,.1f}",
                f"{seen.median(lambda load: load.per_second):,.0f}",
                f"{1e3 * seen.median(lambda load: load.p99):.1f}",
                f"{seen.worker_mb:.0f}",
                f"{seen.server.ready_s:.1f}",
            ]
        )
    return lines


def picture(found: Sequence[tuple[GrowthSeries, Sequence[ServerMeasurements]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, grid = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    for axes, (line, points) in zip(grid.flat, found, strict=False):
        costs = [median(seen.cpu_us) for seen in points]
        axes.plot(line.numbers, costs, marker="o", color="#2a6f97")
        for number, cost in zip(line.numbers, costs, strict=True):
            axes.annotate(f"{cost:,.0f}", (number, cost), textcoords="offset points", xytext=(0, 7), ha="center")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(line.numbers, [f"{number:,}" for number in line.numbers])
        axes.minorticks_off()
        low, high = min(costs), max(costs)
        axes.set_ylim(low / 2, max(high * 2, low * 10))
        axes.set_xlabel(line.name)
        axes.set_ylabel("CPU µs / request")
        axes.set_title(line.scenario.text, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def run(rounds: int, seconds: float, markdown: Path | None, drawing: Path | None) -> int:
    """Measure all lines and print a table for each."""
    found: list[tuple[GrowthSeries, Sequence[ServerMeasurements]]] = []
    written = []
    with tempfile.TemporaryDirectory(prefix="tabserve-growth-") as folder:
        home = Path(folder)
        print("training the models", file=sys.stderr)
        store = train(home, {"eight", *(f"{WIDE}{n}" for n in COLUMNS)})
        copy(store, max(MODELS))
        for line in LINES:
            points = measure(line.scenario, store, home, rounds, seconds)
            found.append((line, points))
            title = f"{line.scenario.text}; {line.scenario.connections} connections, median of {rounds} rounds"
            lines = table(line, points)
            print(f"\n{title}\n\n{table_format.text(lines)}", flush=True)
            written.append(f"{title}\n\n{table_format.markdown(lines)}\n")
        if drawing:
            picture(found, drawing)
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    errors = sum(load.errors for _, points in found for seen in points for load in seen.loads)
    return int(errors > 0)
