"""`make quality`: measures the default network, boosted trees and the plain network on the test set.

Each bundled table has three splits (income has official test rows, so three validation sets) with three fits each.
Every decision (the recipe, when the trees stop, when the plain network stops) is based on train and validation rows;
test rows are only read for this table. The trees are scikit-learn's, without a time limit. --outside measures six
tables that no decision was based on (training/external_tables.py); --suite measures half of the development suite
(training/suite.py). Each result is stored in build/quality immediately, so an interrupted run can be continued.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from models.architecture import Task
from models.command_line import CommandParser
from models.text import counted
from models.text_tables import aligned, markdown
from training import pipeline, suite, suite_quality
from training.baselines import Baselines
from training.build_dataset import load_dataset
from training.bundled import bundled_options
from training.config import DataOptions, FitOptions
from training.errors import UsageError
from training.evaluation import EvaluationMetrics
from training.external_tables import EXTERNAL_TABLES, external_options
from training.quality_report import GOALS, report
from training.quality_results import Job, Result, Results, jobs
from training.serving_time import microseconds_per_row
from training.splitting import split_rows

SEEDS, FITS = (0, 1, 2), 3
FOLDER = Path("build/quality")


def main() -> int:
    arguments = parse_arguments()
    if arguments.suite:
        return run_suite(arguments)
    tables = arguments.names or list(EXTERNAL_TABLES if arguments.outside else GOALS)
    results = Results(arguments.results)
    try:
        for job in jobs(tables, arguments.seeds, arguments.fits):
            if job not in results:
                result = run(job, options_for(job, arguments.results.parent))
                results.add(job, result)
                metrics = {name: round(value, 4) for name, value in result["metrics"].items()}
                print(f"{job.table}, seed {job.seed}, {job.model} {job.fit}: {metrics}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"\ninterrupted; the same command continues, {arguments.results} has the results so far", file=sys.stderr)
        return 1
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table, missed = report(results, tables, arguments.seeds, arguments.fits)
    print(f"\n{aligned(table)}\n\n{markdown(table)}\n")
    repetitions = f"Splits {arguments.seeds}, {counted(arguments.fits, 'fit')} each"
    print(f"{repetitions}; mean ± deviation; ratio: error of the network / error of the trees.")
    return 1 if missed else 0


def run_suite(arguments: argparse.Namespace) -> int:
    """Run `--suite`, see `training.suite_quality`."""
    try:
        return suite_quality.main(arguments.suite, arguments.names, arguments.learners, arguments.splits)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues", file=sys.stderr)
        return 1
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse_arguments() -> argparse.Namespace:
    known = [*GOALS, *EXTERNAL_TABLES]
    parser = CommandParser("python -m training.quality", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these tables: {', '.join(known)}")
    parser.add_argument(
        "--suite", choices=["A", "B"], help="measure a half of the development suite (training/suite.py)"
    )
    parser.add_argument("--learners", nargs="+", default=list(suite_quality.DEFAULT), choices=suite_quality.LEARNERS)
    parser.add_argument("--splits", type=int, metavar="N", help="with --suite: at most N splits of each table")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=list(SEEDS), metavar="N", help="seeds of the splits (0 1 2)"
    )
    parser.add_argument(
        "--fits", type=int, default=FITS, metavar="N", help="fits for each split, with different initial weights (3)"
    )
    parser.add_argument(
        "--outside", action="store_true", help="measure tables from other packages; an error names a package to install"
    )
    parser.add_argument("--results", type=Path, default=FOLDER / "results.jsonl", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.suite:
        known = [table.name for table in suite.tables_of(arguments.suite)]
    unknown = [name for name in arguments.names if name not in known]
    if unknown or arguments.fits < 1:
        parser.error(f"unknown table {unknown[0]!r}" if unknown else "--fits must be at least 1")
    return arguments


def options_for(job: Job, folder: Path) -> DataOptions:
    """The options of a job's table; an external table is written to the folder."""
    if job.table in EXTERNAL_TABLES:
        return external_options(job.table, job.seed, folder / "tables")
    return bundled_options(job.table, DataOptions(seed=job.seed))


def run(job: Job, options: DataOptions) -> Result:
    """Fit one model and evaluate it on the test set."""
    if job.model == "trees":
        started = time.perf_counter()
        task, metrics = fit_trees(options)
        return {"task": task, "metrics": metrics, "seconds": time.perf_counter() - started}
    fit_options = FitOptions(network="plain" if job.model == "plain" else None, fit_seed=job.fit)
    result = pipeline.train(options, fit_options, report=lambda text: None)
    return {
        "task": result.dataset.schema.task,
        "metrics": result.metrics,
        "seconds": result.fit.seconds,
        "parameters": result.fit.parameters,
        "microseconds": [microseconds_per_row(result, rows) for rows in (1, 1000)],
    }


def fit_trees(options: DataOptions) -> tuple[Task, EvaluationMetrics]:
    """Boosted trees without limits of time or rows."""
    dataset = load_dataset(options)
    split, frame = split_rows(dataset, options), dataset.schema.frames.from_columns(dataset.columns)
    sets = (split.train, split.validation, split.test)
    return dataset.schema.task, Baselines(dataset.schema, frame, dataset.target, sets).trees_unlimited()


if __name__ == "__main__":
    sys.exit(main())
