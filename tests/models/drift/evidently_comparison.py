"""The columns of pairs of real files that our statistics and Evidently report as drifted, and the time of both.

`make drift-comparison` makes the environment of Evidently and runs this. A pair has the rows of a bundled table that
differ in one column, which is left out. Times are processor time for reading both files and comparing all columns.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from models.text_tables import markdown
from training.bundled import DATASETS
from training.config import DataOptions
from training.file_report import compare, infer_file, read_as

ROOT = Path(__file__).resolve().parents[3]
EVIDENTLY = ROOT / "build/evidently/bin/python"


class Pair(NamedTuple):
    """Rows of a table for which `is_old` is true, and the others that `is_new` selects. left_out: columns."""

    name: str
    file: str
    left_out: tuple[str, ...]
    is_old: Callable[[pd.DataFrame], Any]
    is_new: Callable[[pd.DataFrame], Any]


def pair_of_values(name: str, file: str, column: str, old: Any, new: Any) -> Pair:
    """The rows with each of two values of a column."""
    return Pair(name, file, (column,), lambda table: table[column] == old, lambda table: table[column] == new)


PAIRS = (
    Pair(
        "housing: south, north",
        "california_housing",
        ("Latitude", "Longitude"),
        lambda table: table["Latitude"] < 36,
        lambda table: table["Latitude"] >= 36,
    ),
    pair_of_values("income: men, women", "adult", "gender", "Male", "Female"),
    Pair(
        "income: born in the USA, elsewhere",
        "adult",
        ("native-country",),
        lambda table: table["native-country"] == "United-States",
        lambda table: table["native-country"].notna() & ~table["native-country"].isin(["United-States", "?"]),
    ),
    pair_of_values("diamonds: cut Ideal, Premium", "diamonds", "cut", "Ideal", "Premium"),
    Pair(
        "letter: first 16,000 rows, others",
        "letter",
        (),
        lambda table: table.index < 16_000,
        lambda table: table.index >= 16_000,
    ),
    pair_of_values("penguins: 2007, 2009", "penguins", "year", 2007, 2009),
)


class Comparison(NamedTuple):
    """ours, theirs: by column. theirs, their_seconds: by method."""

    pair: Pair
    rows: tuple[int, int]
    ours: dict[str, Any]
    our_seconds: float
    theirs: dict[str, dict[str, Any]]
    their_seconds: dict[str, float]

    def flagged(self, method: str) -> set[str]:
        return {name for name, column in self.theirs[method].items() if column["drifts"]}

    @property
    def alarms(self) -> set[str]:
        return {name for name, column in self.ours.items() if column["status"] == "alarm"}


def compare_pair(pair: Pair, folder: Path) -> Comparison:
    table = pd.read_csv(DATASETS / f"{pair.file}.csv.gz")
    parts = [table[choose(table)].drop(columns=[*pair.left_out]) for choose in (pair.is_old, pair.is_new)]
    files = [folder / name for name in ("old.csv", "new.csv")]
    for part, file in zip(parts, files, strict=True):
        part.to_csv(file, index=False)
    old, new = (DataOptions(data=str(file)) for file in files)
    infer_file(old)  # the first use imports much
    start = time.process_time()
    schema, before = infer_file(old)
    report = compare(schema, before, read_as(schema, new))
    seconds = time.process_time() - start
    categories = [feature.name for feature in schema.features if feature.kind == "category"]
    command = [EVIDENTLY, "-m", "tests.models.drift.evidently_columns", *files, json.dumps(categories)]
    found = json.loads(subprocess.run([*map(str, command)], cwd=ROOT, check=True, capture_output=True).stdout)
    ours = {column["name"]: column for column in report["columns"]}
    theirs = {method: one["columns"] for method, one in found.items()}
    times = {method: one["seconds"] for method, one in found.items()}
    return Comparison(pair, (len(parts[0]), len(parts[1])), ours, seconds, theirs, times)


def summary(comparisons: list[Comparison]) -> str:
    head = ["pair", "rows", "columns", "ours: alarm", "Evidently, PSI", "Evidently, default", "s, ours", "s, Evidently"]
    lines = []
    for one in comparisons:
        counts = [len(one.alarms), *(len(one.flagged(method)) for method in ("psi", "default"))]
        rows = f"{one.rows[0]:,}, {one.rows[1]:,}"
        seconds = [f"{one.our_seconds:.2f}", f"{one.their_seconds['psi']:.2f}, {one.their_seconds['default']:.2f}"]
        lines.append([one.pair.name, rows, str(len(one.ours)), *map(str, counts), *seconds])
    return markdown([head, *lines])


def differences(comparisons: list[Comparison]) -> str:
    """The columns on which the three do not agree."""
    head = ["pair", "column", "ours", "Evidently, PSI", "Evidently, default"]
    lines = []
    for one in comparisons:
        for name, column in one.ours.items():
            flags = [name in one.alarms, *(name in one.flagged(method) for method in ("psi", "default"))]
            if len(set(flags)) > 1:
                values = [one.theirs[method][name] for method in ("psi", "default")]
                theirs = [f"{value['method']} {value['value']:.3f}{': drift' * value['drifts']}" for value in values]
                ours = f"PSI {column['psi']:.3f}, p {column['p']:.2g}: {column['status']}"
                lines.append([one.pair.name, name, ours, *theirs])
    return markdown([head, *lines])


def main() -> None:
    if not EVIDENTLY.exists():
        sys.exit("error: the environment of Evidently is missing: run make drift-comparison")
    with tempfile.TemporaryDirectory() as folder:
        comparisons = [compare_pair(pair, Path(folder)) for pair in PAIRS]
    print(summary(comparisons))
    print("\nColumns on which the three differ:\n")
    print(differences(comparisons))


if __name__ == "__main__":
    main()
