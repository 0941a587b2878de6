"""`python -m training.robustness`: measures how much an isolated cell of a table changes a model's error on other rows.

A network is trained on a random table, unchanged and with one replaced cell, several times each with different fit
seeds. The error is the RMSE on further rows of the same distribution, without isolated cells. An isolated cell may
change the mean error by 2 % or one standard error of the mean, whichever is larger.

`--epochs` shortens a run; the number is the same for the table with the cell and without it. With `--results FILE` a
run that was interrupted, or ended by `--minutes`, continues where it stopped.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.atomic_file import replace_file
from models.command_line import CommandParser
from models.text_tables import aligned
from training import pipeline
from training.config import DataOptions, FitOptions, NetworkName

ALLOWED_CHANGE = 0.02
FRESH_ROWS = 5000
EPOCHS = {300: 60, 3000: 40, 30_000: 8}
Frame = pd.DataFrame
Vector = npt.NDArray[np.float64]


def draw_table(rows: int, seed: int) -> Frame:
    """A random table of a date, two numbers and a category. The target depends on all columns and on noise."""
    rng = np.random.default_rng(seed)
    day = rng.integers(0, 1000, rows)
    area, price = rng.uniform(20, 90, rows), rng.lognormal(3, 0.5, rows)
    shop = rng.choice(["north", "south", "west"], rows)
    y = 3 * area + day / 5 + 20 * np.log(price) + 30 * (shop == "west") + rng.normal(0, 10, rows)
    dates = (np.datetime64("2021-01-01") + day).astype(str)
    columns = {"date": dates, "area": area.round(1).astype(str), "price": price.round(2).astype(str), "shop": shop}
    return pd.DataFrame(columns | {"y": y.round(1).astype(str)}, dtype="str")


def _replace_cell(column: str, cell: str) -> Callable[[Frame], Frame]:
    def replace(table: Frame) -> Frame:
        changed = table.copy()
        changed.loc[len(table) // 3, column] = cell
        return changed

    return replace


def _add_total(table: Frame) -> Frame:
    total = pd.to_numeric(table["y"]).sum()
    return pd.concat([table, pd.DataFrame([{"date": "", "shop": "Total", "y": f"{total:.1f}"}])], ignore_index=True)


ISOLATED_CELLS: dict[str, Callable[[Frame], Frame]] = {
    "date 9999-12-31": _replace_cell("date", "9999-12-31"),
    "date 1900-01-01": _replace_cell("date", "1900-01-01"),
    "date 0202-03-04": _replace_cell("date", "0202-03-04"),
    "number 1e9": _replace_cell("area", "1e9"),
    "number -99999": _replace_cell("price", "-99999"),
    "number 1e300": _replace_cell("area", "1e300"),
    "target 1e6": _replace_cell("y", "1e6"),
    "total row": _add_total,
}


@dataclass(frozen=True)
class Errors:
    """The errors of models on the same rows, one for each fit seed."""

    values: Vector

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        return float(self.values.std(ddof=1) / np.sqrt(len(self.values))) if len(self.values) > 1 else 0.0


class TimeIsUp(Exception):  # noqa: N818 - the name describes the error
    """The time limit was reached before all errors were measured."""


class KnownErrors:
    """The errors measured so far, stored in a file if there is one."""

    def __init__(self, path: Path | None = None, seconds: float = np.inf) -> None:
        self._path = path
        self._deadline = time.monotonic() + seconds
        self._errors: dict[str, float] = json.loads(path.read_text()) if path and path.exists() else {}

    def error(self, key: str, measure: Callable[[], float]) -> float:
        """Return the error with this key; it is measured if it is not stored. Raises TimeIsUp."""
        if key not in self._errors:
            if time.monotonic() > self._deadline:
                raise TimeIsUp
            self._errors[key] = measure()
            if self._path:
                replace_file(self._path, json.dumps(self._errors, indent=1).encode())
        return self._errors[key]


class TrainingRuns(NamedTuple):
    """The training runs on each table: the network, the number of epochs, and the fit seeds."""

    network: NetworkName
    epochs: int
    fits: Sequence[int]


def measure(table: Frame, trainings: TrainingRuns, fresh: Frame, known: KnownErrors, name: str) -> Errors:
    """Train on a table with each fit seed. fresh: the rows that the errors are measured on. Raises TimeIsUp."""
    network, epochs, fits = trainings
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        table.to_csv(path, index=False)
        errors = [
            known.error(
                f"{network}, {name}, {epochs} epochs, seed {seed}", partial(_error, str(path), trainings, seed, fresh)
            )
            for seed in fits
        ]
    return Errors(np.array(errors))


def _error(path: str, trainings: TrainingRuns, seed: int, fresh: Frame) -> float:
    rows, (network, epochs, _) = len(fresh), trainings
    fit_options = FitOptions(framework="numpy", network=network, epochs=epochs, fit_seed=seed)
    if network == "ensemble":
        fit_options = FitOptions(framework="numpy", network=network, epochs=epochs, dropout=0.1, fit_seed=seed)
    result = pipeline.train(DataOptions(data=path, target="y", split="random"), fit_options, report=lambda text: None)
    model = pipeline.build_model(result.fit, result.dataset.schema, result.encoder)
    values = [model.predict_rows(_as_rows(fresh.iloc[start : start + 1000])).primary for start in range(0, rows, 1000)]
    truth = pd.to_numeric(fresh["y"]).to_numpy()
    return float(np.sqrt(np.mean((np.concatenate(values).ravel() - truth) ** 2)))


def epochs_for(rows: int) -> int:
    return EPOCHS[min(EPOCHS, key=lambda size: abs(np.log(size / rows)))]


def _as_rows(table: Frame) -> list[dict[str, Any]]:
    numbers = {name: pd.to_numeric(table[name]) for name in ("area", "price")}
    rows: Any = table.drop(columns="y").assign(**numbers).to_dict("records")
    return list(rows)


def is_within(clean: Errors, changed: Errors) -> bool:
    """Whether the change of the mean error is allowed."""
    allowed = max(ALLOWED_CHANGE * clean.mean, float(np.hypot(clean.standard_error, changed.standard_error)))
    return changed.mean - clean.mean <= allowed


def compare(
    rows: int, trainings: TrainingRuns, cells: Sequence[str], known: KnownErrors
) -> tuple[list[list[str]], bool]:
    """A line for each isolated cell, and whether all changes are within the limit. Raises TimeIsUp."""
    table, fresh = draw_table(rows, seed=1), draw_table(FRESH_ROWS, seed=2)
    clean = measure(table, trainings, fresh, known, f"{rows} rows")
    lines, all_within = [], True
    for name in cells:
        changed = measure(ISOLATED_CELLS[name](table), trainings, fresh, known, f"{rows} rows, {name}")
        within = is_within(clean, changed)
        all_within &= within
        change = f"{changed.mean / clean.mean - 1:+.2%}"
        errors = [f"{one.mean:.4g} ± {one.standard_error:.2g}" for one in (clean, changed)]
        lines.append([trainings.network, f"{rows:,}", name, *errors, change, "yes" if within else "NO"])
        print(" ".join(lines[-1]), file=sys.stderr, flush=True)
    return lines, all_within


def main() -> int:
    parser = CommandParser("python -m training.robustness", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(EPOCHS))
    parser.add_argument("--networks", nargs="+", default=["ensemble", "plain"], choices=["ensemble", "plain"])
    parser.add_argument(
        "--epochs", type=int, help="number of epochs of each training run (default: depends on the number of rows)"
    )
    parser.add_argument("--fits", type=int, default=10, help="number of fit seeds for each table")
    parser.add_argument("--cells", nargs="+", default=list(ISOLATED_CELLS), choices=list(ISOLATED_CELLS))
    parser.add_argument("--results", type=Path, help="a file of the errors, to continue an interrupted run")
    parser.add_argument("--minutes", type=float, default=np.inf, help="stop after this time; continue with --results")
    arguments = parser.parse_args()
    known = KnownErrors(arguments.results, 60 * arguments.minutes)
    table, all_within = [["network", "rows", "isolated cell", "RMSE without it", "with it", "change", "within"]], True
    for rows in arguments.rows:
        for network in arguments.networks:
            try:
                trainings = TrainingRuns(network, arguments.epochs or epochs_for(rows), range(arguments.fits))
                lines, within = compare(rows, trainings, arguments.cells, known)
            except TimeIsUp:
                print("the time is up: run the same command again", file=sys.stderr)
                return 2
            table += lines
            all_within &= within
    print(aligned(table))
    return 0 if all_within else 1


if __name__ == "__main__":
    sys.exit(main())
