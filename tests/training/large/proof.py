"""Trains on large random tables and compares the peak memory with that of 1,000 rows (`make large-tables`).

`python -m tests.training.large.proof [--csv-rows N] [--parquet-rows N] [--memory SIZE] [--memory-alone]`. LightGBM is
trained, too, if it is installed in build/large/packages. The exit code is 1 if a bound is exceeded. Each step can take
an hour; with `--results FILE`, a run that was interrupted continues after the last complete step.

The measure is the peak of the resident memory that the system reports (`ru_maxrss`). The memory limit of a container
counts the same memory, except for libraries that other processes share. The peak includes the pages of mapped files
that have been read.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from models.atomic_file import replace_file
from tests.training.large.random_table import TARGET, write_table
from training.arguments import parse_size
from training.quality_results import ROOT, hash_of

PACKAGES = Path("build/large/packages")
CSV_BOUND = 600_000_000  # bytes beyond the peak of 1,000 rows
SMALL_ROWS = 1000


class Run(NamedTuple):
    """Figures of a training run in a separate process. peak: bytes of resident memory. cpu: seconds of all threads."""

    seconds: float
    cpu: float
    peak: int
    rmse: float


def train(module: str, table: Path, store: Path, *options: str) -> Run:
    command = [sys.executable, "-m", module, "--data", str(table), "--target", TARGET, "--name", "large", *options]
    environment = os.environ | {"BENTOML_HOME": str(store)}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    newest = max(store.glob("models/large/*/metrics.json"), key=lambda file: file.stat().st_mtime)
    metrics = json.loads(newest.read_text())
    seconds, cpu = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    return Run(seconds, cpu, usage.ru_maxrss * 1024, metrics["network"]["rmse"])


def lightgbm(table: Path, seconds: float) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(PACKAGES.resolve())}
    command = [sys.executable, "-m", "tests.training.large.lightgbm_run", str(table), str(seconds)]
    found: dict[str, Any] = json.loads(
        subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    )
    return found


@cache
def code_hash() -> str:
    """A hash of the code that may change the results."""
    return hash_of(path for package in ("models", "training") for path in sorted(ROOT.glob(f"{package}/**/*.py")))


class Steps:
    """The results of the steps so far, stored in a file if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path and path.exists() else {}

    def result(self, name: str, run: Callable[[], Any]) -> Any:
        """Return the result of a step, as JSON; the step runs if there is no result of the same code."""
        key = f"{name}, code {code_hash()}"
        if key not in self._found:
            self._found[key] = run()
            if self._path:
                replace_file(self._path, json.dumps(self._found, indent=1).encode())
        return self._found[key]

    def training(self, name: str, run: Callable[[], Run]) -> Run:
        return Run(**self.result(name, lambda: run()._asdict()))


def report(name: str, run: Run, small: Run, bound: int, trees: dict[str, Any] | None) -> bool:
    """Whether the peak is within the bound."""
    beyond = run.peak - small.peak
    print(
        f"{name}: {run.seconds:.0f} s ({run.cpu:.0f} s of CPU), RMSE {run.rmse:.4f}, peak {run.peak / 1e6:.0f} MB, "
        f"{beyond / 1e6:.0f} MB more than {SMALL_ROWS:,} rows ({small.peak / 1e6:.0f} MB), bound {bound / 1e6:.0f} MB"
    )
    if trees:
        ended = "stopped early" if trees["stopped"] else "not stopped early"
        print(
            f"  LightGBM: {ended} after {trees['rounds']} rounds and {trees['seconds']:.0f} s with RMSE "
            f"{trees['rmse']:.4f}, peak {trees['peak_mb']:.0f} MB; after {run.seconds:.0f} s "
            f"{trees['rmse_at_equal_time']:.4f}; time relative to LightGBM {run.seconds / trees['seconds']:.1f}"
        )
    return beyond <= bound


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--csv-rows", type=int, default=1_000_000)
    parser.add_argument("--parquet-rows", type=int, default=10_000_000)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument(
        "--memory-alone", action="store_true", help="compute only a few steps and do not train LightGBM"
    )
    parser.add_argument("--results", type=Path, help="a file of the results, to continue an interrupted run")
    options = parser.parse_args()
    steps, within = Steps(options.results), []
    module = "tests.training.large.memory_run" if options.memory_alone else "training"
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        store = folder / "store"

        def written(table: Path, rows: int) -> Path:
            if not table.exists():
                write_table(table, rows)
            return table

        def train_on(table: Path, rows: int, *flags: str) -> Run:
            return train(module, written(table, rows), store, "--no-promote", *flags)

        def fit_trees(table: Path, rows: int, seconds: float) -> dict[str, Any]:
            return lightgbm(written(table, rows), seconds)

        small_table = folder / "small.csv"
        small = steps.training(f"{module}, {SMALL_ROWS} rows", partial(train_on, small_table, SMALL_ROWS))
        for rows, ending, bound in (
            (options.csv_rows, "csv", CSV_BOUND),
            (options.parquet_rows, "parquet", parse_size(options.memory)),
        ):
            if not rows:
                continue
            table, trees = folder / f"large.{ending}", None
            of_table = f"{rows} rows of {ending}, {options.memory}"
            flags = "--memory", options.memory
            run = steps.training(f"{module}, {of_table}", partial(train_on, table, rows, *flags))
            if not options.memory_alone and PACKAGES.is_dir():
                trees = steps.result(f"LightGBM, {of_table}", partial(fit_trees, table, rows, run.seconds))
            within.append(report(f"{rows:,} rows of {ending}", run, small, bound, trees))
            table.unlink(missing_ok=True)
    raise SystemExit(0 if all(within) else 1)


if __name__ == "__main__":
    main()
