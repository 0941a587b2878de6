"""The cost of a request by the number of columns, rows, served models and workers.

Each point is a separate server, measured as in `servers`; the points of a series take turns. Servers have one worker,
except in the last series. Tables are numeric and the network has 32 units, so that the network is a small part.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from loadtest.bench.server_process import ServerMeasurements
from loadtest.bench.server_scenarios import WIDE, Contender, ServerScenario, tabserve_server
from loadtest.bench.servers import measure, train
from models import text_tables
from models.text import counted

COLUMNS = (8, 32, 128, 512)
ROWS = (1, 10, 100, 1000, 10_000)
MODELS = (1, 10, 50, 200)
WORKERS = (1, 2, 4)


@dataclass(frozen=True)
class GrowthSeries:
    """A series of measurements, and the number that varies in it."""

    name: str
    numbers: Sequence[int]
    scenario: ServerScenario


def server_with_models(count: int) -> Contender:
    """A server with this number of models; requests go to one of them."""
    server = tabserve_server(f"{count}", "eight")
    names = ["eight", *copies(count)]
    return replace(server, settings={**server.settings, "TABSERVE_MODELS": ",".join(names)})


def copies(count: int) -> list[str]:
    return [f"copy{number}" for number in range(1, count)]


SERIES = (
    GrowthSeries(
        "columns",
        COLUMNS,
        ServerScenario(
            "eight",
            1,
            32,
            tuple(replace(tabserve_server(f"{n}", f"{WIDE}{n}"), model=f"{WIDE}{n}") for n in COLUMNS),
            "one row, by number of columns",
        ),
    ),
    GrowthSeries(
        "rows",
        ROWS,
        ServerScenario(
            "eight",
            1,
            8,
            tuple(replace(tabserve_server(f"{n}", "eight"), rows=n) for n in ROWS),
            "rows of 8 numbers, by number of rows",
        ),
    ),
    GrowthSeries(
        "models",
        MODELS,
        ServerScenario(
            "eight", 1, 32, tuple(server_with_models(n) for n in MODELS), "one row of 8 numbers, by number of models"
        ),
    ),
    GrowthSeries(
        "workers",
        WORKERS,
        ServerScenario(
            "eight",
            1,
            32,
            tuple(tabserve_server(f"{n}", "eight", workers=str(n)) for n in WORKERS),
            "one row of 8 numbers, by number of workers",
        ),
    ),
)


def copy(store: Path, count: int) -> None:
    """Copies of the model `eight` under other names."""
    for name in copies(count):
        folder = store / name / "1"
        shutil.copytree(store / "eight" / "1", folder)
        features = json.loads((folder / "features.json").read_text("utf-8"))
        (folder / "features.json").write_text(json.dumps({**features, "name": name}), encoding="utf-8")


def table(series: GrowthSeries, points: Sequence[ServerMeasurements]) -> list[list[str]]:
    """The cost per request, also relative to the first point, and per row."""
    first = median(points[0].cpu_us)
    lines = [[series.name, "CPU µs / request", "÷ first", "CPU µs / row", "requests / s", "p99 ms", "MB", "ready s"]]
    for number, measured in zip(series.numbers, points, strict=True):
        cost = median(measured.cpu_us)
        lines.append(
            [
                f"{number:,}",
                f"{cost:,.0f}",
                f"{cost / first:.2f}",
                f"{cost / (measured.server.contender.rows or 1):,.1f}",
                f"{measured.median(lambda load: load.per_second):,.0f}",
                f"{1e3 * measured.median(lambda load: load.p99):.1f}",
                f"{measured.worker_mb:.0f}",
                f"{measured.server.ready_s:.1f}",
            ]
        )
    return lines


def picture(found: Sequence[tuple[GrowthSeries, Sequence[ServerMeasurements]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, grid = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    for axes, (series, points) in zip(grid.flat, found, strict=False):
        costs = [median(measured.cpu_us) for measured in points]
        axes.plot(series.numbers, costs, marker="o", color="#2a6f97")
        for number, cost in zip(series.numbers, costs, strict=True):
            axes.annotate(f"{cost:,.0f}", (number, cost), textcoords="offset points", xytext=(0, 7), ha="center")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(series.numbers, [f"{number:,}" for number in series.numbers])
        axes.minorticks_off()
        low, high = min(costs), max(costs)
        axes.set_ylim(low / 2, max(high * 2, low * 10))
        axes.set_xlabel(series.name)
        axes.set_ylabel("CPU µs / request")
        axes.set_title(series.scenario.text, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def run(rounds: int, seconds: float, markdown: Path | None, drawing: Path | None) -> int:
    """Measure all series and print a table for each. Returns 1 if there was an error."""
    found: list[tuple[GrowthSeries, Sequence[ServerMeasurements]]] = []
    written = []
    with tempfile.TemporaryDirectory(prefix="tabserve-growth-") as folder:
        home = Path(folder)
        print("training the models", file=sys.stderr)
        store = train(home, {"eight", *(f"{WIDE}{n}" for n in COLUMNS)})
        copy(store, max(MODELS))
        for series in SERIES:
            points = measure(series.scenario, store, home, rounds, seconds)
            found.append((series, points))
            connections = counted(series.scenario.connections, "connection")
            title = f"{series.scenario.text}; {connections}, median of {counted(rounds, 'round')}"
            lines = table(series, points)
            print(f"\n{title}\n\n{text_tables.aligned(lines)}", flush=True)
            written.append(f"{title}\n\n{text_tables.markdown(lines, numbers=True)}\n")
        if drawing:
            picture(found, drawing)
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    errors = sum(load.errors for _, points in found for measured in points for load in measured.loads)
    return int(errors > 0)
