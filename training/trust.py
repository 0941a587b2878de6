"""`python -m training.trust`: checks the coverage of intervals and label sets on bundled and synthetic tables.

It trains a model for each table and reports coverage, widths compared with a constant width, and sizes of label sets.
The exit code is 1 if a target is missed.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.command_line import CommandParser
from models.text_tables import markdown
from models.uncertainty import Uncertainty
from training import conformalization, coverage_report, pipeline
from training.bundled import BUNDLED, bundled_options
from training.config import DataOptions, FitOptions
from training.conformalization import HeldOutRows
from training.coverage import LEVELS, coverage_by_fifth, level_coverage
from training.synthetic_noise import NOISE, write_table

TABLES = ("housing", "diamonds", "income", "letter")  # tables with at least 3,000 test rows
SPLITS, SYNTHETIC_SPLITS = 20, 200
SET_LEVELS = (0.9, 0.95, 0.99)
MAX_SCORE_RATIO = 0.85  # maximum interval score, as a fraction of the score of constant-width intervals
MAX_SIZES = {("letter", 0.95): 1.05, ("letter", 0.99): 1.3}  # mean sizes of label sets
MIN_FIFTH, MAX_CONSTANT_FIFTH = 0.85, 0.8  # coverage of the worst fifth with growing noise, at the level 0.9
SYNTHETIC_FIT = FitOptions(framework="numpy", hidden=(32, 32), epochs=20, learning_rate=0.003)

Line = list[str]


class Report:
    """The lines of the tables, and the missed targets."""

    def __init__(self) -> None:
        self.coverage: list[Line] = [["table", "level", "by two folds", "allowed", "mean of splits"]]
        self.widths: list[Line] = [
            ["table", "mean width", "constant width", "interval score", "constant", "smaller by"]
        ]
        self.sets: list[Line] = [["table", "level", "coverage", "mean size", "sets of one label"]]
        self.fifths: list[Line] = [["intervals", *(f"fifth {number}" for number in range(1, 6))]]
        self.missed: list[str] = []

    def check(self, met: bool, target: str) -> None:
        if not met:
            self.missed.append(target)

    def add_coverage(self, name: str, rows: HeldOutRows, fitted: Uncertainty, splits: int) -> None:
        for level in LEVELS:
            found = level_coverage(rows, fitted, level, splits)
            figures = [f"{found.by_folds:.4f}", f"± {found.tolerance:.4f}", f"{found.mean_of_splits:.4f}"]
            self.coverage.append([name, f"{level:g}", *figures])
            self.check(found.is_in_tolerance, f"{name}: coverage {found.by_folds:.4f} by two folds at level {level:g}")
            self.check(
                found.mean_is_in_tolerance, f"{name}: mean coverage {found.mean_of_splits:.4f} at level {level:g}"
            )

    def add_width(self, name: str, rows: HeldOutRows, fitted: Uncertainty) -> None:
        found = coverage_report.interval_report(rows, fitted)
        score, constant = found["interval_score"], found["constant_interval_score"]
        widths = [f"{found[key]:.4g}" for key in ("mean_width", "constant_width")]
        self.widths.append([name, *widths, f"{score:.4g}", f"{constant:.4g}", f"{1 - score / constant:.1%}"])
        if name in BUNDLED:
            ratio = score / constant
            self.check(ratio <= MAX_SCORE_RATIO, f"{name}: interval score {ratio:.1%} of that with constant width")

    def add_sets(self, name: str, rows: HeldOutRows, fitted: Uncertainty) -> None:
        for level in SET_LEVELS:
            found = coverage_report.set_report(rows, fitted, level)
            coverage, size = found["coverage"], found["mean_size"]
            self.sets.append([name, f"{level:g}", f"{coverage:.4f}", f"{size:.3f}", f"{found['single_labels']:.1%}"])
            largest = MAX_SIZES.get((name, level))
            self.check(largest is None or size <= largest, f"{name}: sets of {size:.3f} labels at level {level:g}")

    def add_fifths(self, rows: HeldOutRows, fitted: Uncertainty) -> None:
        own, constant = coverage_by_fifth(rows, fitted, 0.9)
        for name, found in (("of our width", own), ("of constant width", constant)):
            self.fifths.append([name, *(f"{share:.3f}" for share in found)])
        self.check(min(own) >= MIN_FIFTH, f"growing noise: a fifth is covered by {min(own):.3f}")
        self.check(min(constant) < MAX_CONSTANT_FIFTH, "growing noise: intervals of constant width are as good")

    def text(self) -> str:
        tables = [table for table in (self.coverage, self.widths, self.sets, self.fifths) if len(table) > 1]
        result = "missed: " + "; ".join(self.missed) if self.missed else "all targets are met"
        return "\n\n".join([*map(markdown, tables), result])


def measure(name: str, rows: HeldOutRows, report: Report) -> None:
    fitted = conformalization.fit_uncertainty(rows)
    assert fitted is not None
    report.add_coverage(name, rows, fitted, SPLITS if name in BUNDLED else SYNTHETIC_SPLITS)
    if rows.schema.task == "regression":
        report.add_width(name, rows, fitted)
        if name == "growing":
            report.add_fifths(rows, fitted)
    else:
        report.add_sets(name, rows, fitted)


def train_tables(names: Sequence[str], folder: Path) -> Iterator[tuple[str, HeldOutRows]]:
    """Train on each table. Yields its name and its test rows with their predictions."""
    for name in names:
        print(f"training {name}", file=sys.stderr)
        if name in BUNDLED:
            options, fit_options = bundled_options(name), FitOptions()
        else:
            options = DataOptions(data=str(write_table(name, folder)), target="y", name=name)
            fit_options = SYNTHETIC_FIT
        yield name, pipeline.train(options, fit_options, report=lambda text: None).held_out


def main() -> int:
    known = [*TABLES, *NOISE]
    parser = CommandParser("python -m training.trust", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these tables: {', '.join(known)}")
    arguments: argparse.Namespace = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"unknown table {unknown[0]!r}, expected {', '.join(known)}")
    report = Report()
    with tempfile.TemporaryDirectory(prefix="tabserve-trust-") as folder:
        for name, rows in train_tables(arguments.names or known, Path(folder)):
            measure(name, rows, report)
    print(report.text())
    return int(bool(report.missed))


if __name__ == "__main__":
    sys.exit(main())
