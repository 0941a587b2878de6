"""The cost of counting for drift: the same version with and without its reference, in one run.

Rounds and turns are those of `bench servers --beside`: see `checkouts`.
"""

import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path

from loadtest.bench import paired_ratios
from loadtest.bench.checkouts import CheckoutComparison, PairedRound, compare, explanation, table
from loadtest.bench.server_process import rows_of
from loadtest.bench.server_scenarios import Contender, as_json, tabserve_server
from loadtest.bench.servers import train
from models import text_tables
from models.text import counted

MODEL, CONNECTIONS = "housing", 32
GOAL = 1.02  # maximum CPU time, as a multiple of that without counting
FILES = ("reference.json", "manifest.json")  # a version without a manifest is not checked


def without_reference(store: Path, copy: Path) -> Path:
    """A copy of a store whose versions have no reference."""
    shutil.copytree(store, copy)
    for name in FILES:
        for file in copy.rglob(name):
            file.unlink()
    return copy


def contender(name: str, store: Path) -> Contender:
    server = tabserve_server(name, MODEL)
    return dataclasses.replace(server, settings={**server.settings, "TABSERVE_STORE": str(store)})


def measure(folder: Path, rounds: int, seconds: float, rows: int) -> tuple[list[PairedRound], int]:
    """The rounds (old: without counting, new: with counting) and the number of requests per turn."""
    store = train(folder, {MODEL})
    old = contender("without", without_reference(store, folder / "without"))
    request = as_json(rows_of(store, MODEL, rows))
    comparison = CheckoutComparison(old, contender("with", store), request, CONNECTIONS, store, folder)
    return compare(comparison, rounds, seconds)


def run(rounds: int, seconds: float, rows: int, markdown: Path | None) -> int:
    """Print a table. Returns 1 if the goal is missed."""
    with tempfile.TemporaryDirectory(prefix="tabserve-drift-") as folder:
        print("training the model", file=sys.stderr)
        found, requests = measure(Path(folder), rounds, seconds, rows)
    ratio = paired_ratios.ratio([one.old.cpu_us for one in found], [one.new.cpu_us for one in found])
    title = (
        f"{counted(rows, 'row')} of {MODEL}, old: without drift counting, new: with it; "
        f"{counted(rounds, 'round')} of {counted(requests, 'request', spec=',')}"
    )
    interval = f"{100 * ratio.coverage:.3g} % interval {ratio.low:.3f} to {ratio.high:.3f}"
    about = f"{interval}; goal: at most {GOAL:g}"
    outcome = f"CPU per request with counting: {ratio.median:.3f} times the CPU without ({about})"
    print(f"\n{title}\n\n{text_tables.aligned(table(found))}\n\n{explanation(found)}\n{outcome}", flush=True)
    if markdown:
        text = f"{title}\n\n{text_tables.markdown(table(found), numbers=True)}\n\n{explanation(found)}\n\n{outcome}\n"
        markdown.write_text(text, encoding="utf-8")
    return int(ratio.median > GOAL)
