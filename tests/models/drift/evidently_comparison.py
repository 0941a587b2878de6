"""Compares our statistics with Evidently on pairs of real files: which columns each reports as drifted, and how long
each takes.

`make drift-comparison` creates an environment with Evidently and runs this program. A pair consists of two sets of rows
of a bundled table that differ in one column; the comparison leaves this column out. Times are processor time for
reading both files and comparing all columns.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.text_tables import markdown
from training.bundled import DATASETS
from training.config import DataOptions
from training.file_report import compare, infer_file, read_with_schema

ROOT = Path(__file__).resolve().parents[3]
EVIDENTLY = ROOT / "build/evidently/bin/python"
Vector = npt.NDArray[np.float64]


class Pair(NamedTuple):
    """Two sets of rows of a table, selected by `is_old` and `is_new`. left_out: columns that neither set contains."""

    name: str
    file: str
    left_out: tuple[str, ...]
    is_old: Callable[[pd.DataFrame], Any]
    is_new: Callable[[pd.DataFrame], Any]


def pair_of_values(name: str, file: str, column: str, old: Any, new: Any) -> Pair:
    """The rows with one value of a column, and those with another value."""
    return Pair(name, file, (column,), lambda table: table[column] == old, lambda table: table[column] == new)


MIN_ROWS = 10_000  # minimum number of rows of a table in SPLIT_TABLES
SPLIT_TABLES = ("adult", "diamonds")
OTHER_PAIRS = (
    Pair(
        "housing: south, north",
        "california_housing",
        ("Latitude", "Longitude"),
        lambda table: table["Latitude"] < 36,
        lambda table: table["Latitude"] >= 36,
    ),
    Pair(
        "letter: first 16,000 rows, others",
        "letter",
        (),
        lambda table: table.index < 16_000,
        lambda table: table.index >= 16_000,
    ),
    Pair(
        "penguins: 2007, 2009",
        "penguins",
        ("year",),
        lambda table: table["year"] == 2007,
        lambda table: table["year"] == 2009,
    ),
)
PERMUTATIONS = 20_000


def pairs() -> list[Pair]:
    """A pair for each text column of SPLIT_TABLES: the rows with its two most frequent values.

    The other large tables have one pair each, by region or by the order of the rows. The penguins table, which is
    small, is split by year.
    """
    found = []
    for file in SPLIT_TABLES:
        table = pd.read_csv(DATASETS / f"{file}.csv.gz")
        assert len(table) >= MIN_ROWS
        for column in table.select_dtypes(["object", "string"]).columns:
            first, second = table[column].value_counts().index[:2]
            name = f"{file}, {column}: {first}, {second}"
            found.append(Pair(name, file, (column,), has_value(column, first), has_value(column, second)))
    return [*OTHER_PAIRS, *found]


def has_value(column: str, value: str) -> Callable[[pd.DataFrame], Any]:
    return lambda table: table[column] == value


class Comparison(NamedTuple):
    """The reports about a pair: ours by column, Evidently's by method and then by column."""

    pair: Pair
    rows: tuple[int, int]
    ours: dict[str, Any]
    our_seconds: float
    theirs: dict[str, dict[str, Any]]
    their_seconds: dict[str, float]

    def drifting_columns(self, method: str) -> set[str]:
        return {name for name, column in self.theirs[method].items() if column["drifts"]}

    @property
    def contradictions(self) -> list[str]:
        """Columns for which only we raise an alarm, or only Evidently reports drift."""
        drifts = self.drifting_columns("default")
        return [
            name
            for name, column in self.ours.items()
            if (name in drifts) == (column["status"] in ("ok", "small_sample"))
            and (name in drifts or column["status"] == "alarm")
        ]

    @property
    def alarms(self) -> set[str]:
        return {name for name, column in self.ours.items() if column["status"] == "alarm"}


def parts_of(pair: Pair) -> list[pd.DataFrame]:
    table = pd.read_csv(DATASETS / f"{pair.file}.csv.gz")
    return [table[choose(table)].drop(columns=[*pair.left_out]) for choose in (pair.is_old, pair.is_new)]


def compare_pair(pair: Pair, folder: Path) -> Comparison:
    parts = parts_of(pair)
    files = [folder / name for name in ("old.csv", "new.csv")]
    for part, file in zip(parts, files, strict=True):
        part.to_csv(file, index=False)
    old, new = (DataOptions(data=str(file)) for file in files)
    infer_file(old)  # the first use imports many modules
    start = time.process_time()
    schema, before = infer_file(old)
    report = compare(schema, before, read_with_schema(schema, new))
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
        counts = [len(one.alarms), *(len(one.drifting_columns(method)) for method in ("psi", "default"))]
        rows = f"{one.rows[0]:,}, {one.rows[1]:,}"
        seconds = [f"{one.our_seconds:.2f}", f"{one.their_seconds['psi']:.2f}, {one.their_seconds['default']:.2f}"]
        lines.append([one.pair.name, rows, str(len(one.ours)), *map(str, counts), *seconds])
    return markdown([head, *lines])


def differences(comparisons: list[Comparison]) -> str:
    """A table of the columns on which our report and the two methods of Evidently disagree."""
    head = ["pair", "column", "ours", "Evidently, PSI", "Evidently, default"]
    lines = []
    for one in comparisons:
        for name, column in one.ours.items():
            flags = [name in one.alarms, *(name in one.drifting_columns(method) for method in ("psi", "default"))]
            if len(set(flags)) > 1:
                values = [one.theirs[method][name] for method in ("psi", "default")]
                theirs = [f"{value['method']} {value['value']:.3f}{': drift' * value['drifts']}" for value in values]
                ours = f"PSI {column['psi']:.3f}, p {column['p']:.2g}: {column['status']}"
                lines.append([one.pair.name, name, ours, *theirs])
    return markdown([head, *lines])


def agreement(comparisons: list[Comparison]) -> str:
    """The number of columns, and the pairs, in which our alarms agree with Evidently's default method."""
    columns = [(one, name) for one in comparisons for name in one.ours]
    same = sum((name in one.alarms) == (name in one.drifting_columns("default")) for one, name in columns)
    pairs = [one.pair.name for one in comparisons if one.alarms == one.drifting_columns("default")]
    against = sum(len(one.contradictions) for one in comparisons)
    return (
        f"{same} of {len(columns)} columns agree; in {len(columns) - same - against} others we report a warning; "
        f"{against} contradict\nthe same columns in {len(pairs)} of {len(comparisons)} pairs: {'; '.join(pairs)}"
    )


def permutation_tests(comparisons: list[Comparison]) -> str:
    """Permutation tests of the number columns on which our report and Evidently's contradict each other."""
    head = ["pair", "column", "Wasserstein distance", "p by permutation", "without the highest 1 %"]
    lines = []
    for one in comparisons:
        old, new = parts_of(one.pair)
        for name in one.contradictions:
            if one.ours[name]["type"] != "number":
                continue
            before, after = (part[name].dropna().to_numpy(np.float64) for part in (old, new))
            limit = np.quantile(np.concatenate([before, after]), 0.99)
            p = permutation_p(before, after, PERMUTATIONS, np.random.default_rng(0))
            without = wasserstein(before[before <= limit], after[after <= limit])
            lines.append([one.pair.name, name, f"{wasserstein(before, after):.3f}", f"{p:.2g}", f"{without:.3f}"])
    return markdown([head, *lines])


def wasserstein(old: Vector, new: Vector) -> float:
    """The Wasserstein distance of two samples, in standard deviations of the old sample."""
    ordered, marks = marked(old, new)
    return distance(marks, np.diff(ordered), len(old)) / float(old.std())


def permutation_p(old: Vector, new: Vector, permutations: int, rng: np.random.Generator) -> float:
    """The p-value of a permutation test: the fraction of divisions, including the actual one, whose distance is at
    least the actual distance.
    """
    ordered, marks = marked(old, new)
    gaps = np.diff(ordered)
    real = distance(marks, gaps, len(old))
    return (1 + sum(distance(rng.permutation(marks), gaps, len(old)) >= real for _ in range(permutations))) / (
        1 + permutations
    )


def marked(old: Vector, new: Vector) -> tuple[Vector, Vector]:
    """(n,) the values of both samples in order, and (n,) 1 for each value of the old sample, else 0."""
    values = np.concatenate([old, new])
    order = np.argsort(values, kind="stable")
    return values[order], np.repeat([1.0, 0.0], [len(old), len(new)])[order]


def distance(marks: Vector, gaps: Vector, old: int) -> float:
    """The area between the two distribution functions. gaps: (n - 1,) differences of consecutive sorted values."""
    below = np.cumsum(marks)[:-1]
    others = np.arange(1, len(marks)) - below
    return float(np.abs(below / old - others / (len(marks) - old)) @ gaps)


def main() -> None:
    if not EVIDENTLY.exists():
        sys.exit("error: the environment of Evidently does not exist; create it with: make drift-comparison")
    comparisons = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs():
            print(pair.name, file=sys.stderr)
            comparisons.append(compare_pair(pair, Path(folder)))
    print(summary(comparisons))
    print(f"\n{agreement(comparisons)}")
    print("\nColumns on which the methods disagree:\n")
    print(differences(comparisons))
    print("\nColumns for which only we raise an alarm, or only Evidently reports drift:\n")
    print(permutation_tests(comparisons))


if __name__ == "__main__":
    main()
