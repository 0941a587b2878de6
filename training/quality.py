"""`make quality`: how good the default network is, beside boosted trees and the plain network, on held-out rows.

Every bundled table, three splits (of income, whose test rows are official, three validation parts), three fits each.
All that is chosen (the recipe, when the trees stop, when the plain network stops) is chosen by training and validation
rows; test rows are only read to fill this table. The trees are scikit-learn's, not cut short by time. With --outside,
six tables that nothing was chosen by (training/outside.py). Each result is kept in build/quality at once, and a run
that was interrupted goes on where it was.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median, pstdev
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.architecture import Task
from training import columns, data, outside, pipeline
from training.card import NAMES, aligned, markdown
from training.config import DataOptions, FitOptions
from training.errors import UsageError
from training.evaluate import LOWER_IS_BETTER, MAIN, Baselines

SEEDS, FITS = (0, 1, 2), 3
FOLDER = Path("build/quality")
ROOT = Path(__file__).parents[1]
DECISIVE = (  # a change of one of these files makes what was measured before worth nothing
    *("models/architecture", "models/encoding", "models/keras_nets"),
    *("training/columns", "training/config", "training/data", "training/ensemble", "training/evaluate", "training/fit"),
    "training/temperature",
)
SECONDS = 90.0


class Goal(NamedTuple):
    """What the mean over all runs has to reach: the metric itself, or the ratio of its error to the trees'."""

    metric: str
    bound: float
    ratio: bool = True

    def reached(self, value: float) -> bool:
        return value <= self.bound if self.ratio or self.metric in LOWER_IS_BETTER else value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.ratio or self.metric in LOWER_IS_BETTER else "≥"
        return f"{'ratio ' if self.ratio else ''}{sign} {self.bound:g}"


GOALS = {
    "housing": [Goal("rmse", 1.01)],
    "income": [Goal("accuracy", 1.01), Goal("auc", 0.925, ratio=False)],
    "penguins": [Goal("accuracy", 0.98, ratio=False)],
    "diamonds": [Goal("rmse", 1.0)],
    "letter": [Goal("accuracy", 0.75)],
}


class Job(NamedTuple):
    """One fit of one model on one split of one table."""

    table: str
    seed: int
    model: str  # network, plain or trees
    fit: int


Result = dict[str, Any]


def main() -> int:
    given = arguments()
    tables = given.names or list(outside.TABLES if given.outside else GOALS)
    results = Results(given.results)
    try:
        for job in jobs(tables, given.seeds, given.fits):
            if job not in results:
                result = run(job, options_of(job, given.results.parent))
                results.add(job, result)
                told = {name: round(value, 4) for name, value in result["metrics"].items()}
                print(f"{job.table}, seed {job.seed}, {job.model} {job.fit}: {told}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"\ninterrupted; the same command goes on, {given.results} keeps what was measured", file=sys.stderr)
        return 1
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table, missed = report(results, tables, given.seeds, given.fits)
    print(f"\n{aligned(table)}\n\n{markdown(table)}\n")
    print(f"Splits {given.seeds}, {given.fits} fits each; mean ± deviation; ratio: of the errors, network to trees.")
    return 1 if missed else 0


def arguments() -> argparse.Namespace:
    known = [*GOALS, *outside.TABLES]
    parser = argparse.ArgumentParser("python -m training.quality", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these tables: {', '.join(known)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), metavar="N", help="splits (0 1 2)")
    parser.add_argument("--fits", type=int, default=FITS, metavar="N", help="first weights for each split (3)")
    parser.add_argument("--outside", action="store_true", help="tables from other packages; says what to install")
    parser.add_argument("--results", type=Path, default=FOLDER / "results.jsonl", metavar="FILE")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in known]
    if unknown or given.fits < 1:
        parser.error(f"unknown table {unknown[0]!r}" if unknown else "--fits must be at least 1")
    return given


def jobs(tables: Sequence[str], seeds: Sequence[int], fits: int) -> Iterator[Job]:
    for table in tables:
        for seed in seeds:
            yield Job(table, seed, "trees", 0)
            yield Job(table, seed, "plain", 0)
            yield from (Job(table, seed, "network", fit) for fit in range(fits))


# Measuring


class Results:
    """What was measured, a line of JSON for each job; lines from before a change of what decides are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.code = hashlib.sha256(b"".join((ROOT / f"{name}.py").read_bytes() for name in DECISIVE)).hexdigest()[:12]
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]  # the last may be cut off
        self.of = {Job(*entry["job"]): entry for entry in found if entry["code"] == self.code}

    def __contains__(self, job: Job) -> bool:
        return job in self.of

    def add(self, job: Job, result: Result) -> None:
        self.of[job] = {"job": job, "code": self.code, **result}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.of[job]) + "\n")


def options_of(job: Job, folder: Path) -> DataOptions:
    if job.table in outside.TABLES:
        return outside.options(job.table, job.seed, folder / "tables")
    return data.bundled_options(job.table, DataOptions(seed=job.seed))


def run(job: Job, options: DataOptions) -> Result:
    """Fit one model and measure it on the test part."""
    if job.model == "trees":
        started = time.perf_counter()
        task, metrics = trees(options)
        return {"task": task, "metrics": metrics, "seconds": time.perf_counter() - started}
    fit_options = FitOptions(network="plain" if job.model == "plain" else None, fit_seed=job.fit)
    learned = pipeline.learn(options, fit_options, tell=lambda text: None)
    return {
        "task": learned.dataset.schema.task,
        "metrics": learned.metrics,
        "seconds": learned.fitted.seconds,
        "parameters": learned.fitted.parameters,
        "microseconds": [microseconds(learned, rows) for rows in (1, 1000)],
    }


def trees(options: DataOptions) -> tuple[Task, dict[str, float]]:
    dataset = columns.load(options)
    parts, frame = data.split(dataset, options), dataset.schema.frames.from_columns(dataset.columns)
    rows = (parts.train, parts.validation, parts.test)
    task = dataset.schema.task
    return task, Baselines(dataset.schema, frame, dataset.target, rows).trees_unhurried()


def microseconds(learned: pipeline.Learned, rows: int) -> float:
    """For each of so many rows at once, from checked values to answers: the median of 50 times, one thread."""
    model = pipeline.engine_of(learned.fitted, learned.dataset.schema, learned.encoder)
    frame = learned.frame.take(learned.parts.test[:rows])
    count = len(frame.numbers)
    again = max(1, 200 // count)
    with threadpool_limits(1):
        return median(seconds_of(lambda: model.predict(frame), again) for _ in range(50)) / count * 1e6


def seconds_of(action: Callable[[], object], again: int) -> float:
    started = time.perf_counter()
    for _ in range(again):
        action()
    return (time.perf_counter() - started) / again


# Telling


def report(results: Results, tables: Sequence[str], seeds: Sequence[int], fits: int) -> tuple[list[list[str]], int]:
    """A table as rows of text, and how many goals were missed."""
    head = ["table", "metric", "network", "boosted trees", "plain network", "ratio to trees", "goal", ""]
    table = [[*head, "seconds, the longest", "parameters", "µs, 1 row", "µs a row of 1,000"]]
    missed = 0
    for name in tables:
        networks = [results.of[Job(name, seed, "network", fit)] for seed in seeds for fit in range(fits)]
        longest = max(result["seconds"] for result in networks)
        slow = longest > SECONDS
        for goal in GOALS.get(name) or [Goal(MAIN[networks[0]["task"]], float("inf"))]:
            key = goal.metric
            values = {
                model: [results.of[job]["metrics"][key] for job in jobs([name], seeds, fits) if job.model == model]
                for model in ("network", "trees", "plain")
            }
            ratios = [
                error(key, value) / error(key, values["trees"][i // fits])
                for i, value in enumerate(values["network"])
                if error(key, values["trees"][i // fits])
            ]
            judged = mean(ratios) if goal.ratio and ratios else mean(values["network"])
            good = goal.reached(judged) and not slow
            missed += not good
            one, many = (median(result["microseconds"][i] for result in networks) for i in (0, 1))
            table.append(
                [
                    name,
                    NAMES[key],
                    *[spread(values[model]) for model in ("network", "trees", "plain")],
                    spread(ratios) if ratios else "trees made no error",
                    str(goal) if goal.bound < float("inf") else "",
                    ("ok" if good else "TOO SLOW" if slow else "MISSED") if goal.bound < float("inf") else "",
                    f"{longest:.0f}",
                    f"{networks[0]['parameters']:,}",
                    f"{one:.0f}",
                    f"{many:.1f}",
                ]
            )
    return table, missed


def error(metric: str, value: float) -> float:
    """What is wrong: the metric where lower is better, else what is missing to 1."""
    return value if metric in LOWER_IS_BETTER else 1 - value


def spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4g} ± {pstdev(values):.2g}"


if __name__ == "__main__":
    sys.exit(main())
