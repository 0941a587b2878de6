"""`python -m training.quality --suite A|B`: measures the network and other learners on the development suite.

Every result is stored at once (build/suite/results.jsonl), so an interrupted run can continue. Learners of other
packages run in the environment of `make learners`; without it the comparison is with scikit-learn's models.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.architecture import Task
from models.text_tables import aligned, markdown
from training import baselines, pipeline, suite
from training.build_dataset import load_dataset
from training.config import DataOptions, FitOptions
from training.dataset import Dataset
from training.errors import UsageError
from training.evaluation import EvaluationMetrics, evaluate
from training.quality_results import Job, Result, Results
from training.serving_time import microseconds_per_row
from training.splitting import Split, split_rows
from training.suite_goals import goals
from training.suite_report import report

PYTHON = Path("build/learners/bin/python")
SCRIPT = Path(__file__).with_name("learners.py")
OURS = ("network", "plain", "trees", "linear", "constant")
OTHERS = ("catboost", "catboost-default", "lightgbm", "xgboost", "realmlp", "tabm")
LEARNERS = (*OURS, *OTHERS)
DEFAULT = ("network", "trees", "linear", "constant")
NETWORKS = ("realmlp", "tabm")  # networks of other packages: a fit takes minutes
MAX_NETWORK_ROWS = 20_000
SECONDS_PER_FIT = 1200


def jobs(tables: Sequence[suite.SuiteTable], learners: Sequence[str], splits: int | None) -> Iterator[Job]:
    """All jobs, table by table. splits: the maximum number for each table."""
    for table in tables:
        for split in range(min(suite.splits_of(table), splits or sys.maxsize)):
            for learner in learners:
                if learner not in NETWORKS or suite.row_count(table) <= MAX_NETWORK_ROWS:
                    yield Job(table.name, split, learner, 0)


def main(half: suite.Half, names: Sequence[str], learners: Sequence[str], splits: int | None) -> int:
    """Run the missing measurements, and print the table."""
    tables = [table for table in suite.tables_of(half) if not names or table.name in names]
    results = Results(suite.FOLDER / "results.jsonl")
    for job in jobs(tables, learners, splits):
        if job in results:
            continue
        result = run(job, suite.read_list()[job.table])
        results.add(job, result)
        shown = result.get("failed") or {name: round(value, 4) for name, value in result["metrics"].items()}
        print(f"{job.table}, split {job.seed}, {job.model}: {shown}", file=sys.stderr, flush=True)
    measured = {job: results.by_job[job] for job in jobs(tables, learners, splits) if job in results}
    for table in (*report(measured, learners), goals(measured)):
        print(f"\n{aligned(table)}\n\n{markdown(table)}")
    return 0


def run(job: Job, table: suite.SuiteTable) -> Result:
    """Fit one learner on one split and evaluate it on the test rows. A learner of another package may fail."""
    options = suite.options_of(table, job.seed)
    if job.model in ("network", "plain"):
        return _run_network(job, options)
    dataset = load_dataset(options)
    split = split_rows(dataset, options)
    started = time.perf_counter()
    common = {"task": dataset.schema.task}
    if job.model in OURS:
        metrics = _run_baseline(job.model, dataset, split)
        return {**common, "metrics": metrics, "seconds": time.perf_counter() - started}
    try:
        metrics, seconds = run_learner(job.model, dataset, split)
    except subprocess.SubprocessError as error:
        return {**common, "failed": str(error)[-300:]}
    return {**common, "metrics": metrics, "seconds": seconds}


def _run_network(job: Job, options: DataOptions) -> Result:
    fit_options = FitOptions(network="plain" if job.model == "plain" else None, fit_seed=job.seed)
    result = pipeline.train(options, fit_options, report=lambda text: None)
    return {
        "task": result.dataset.schema.task,
        "metrics": result.metrics,
        "seconds": result.fit.seconds,
        "parameters": result.fit.parameters,
        "microseconds": [microseconds_per_row(result, rows) for rows in (1, 1000)],
    }


def _run_baseline(name: str, dataset: Dataset, split: Split) -> EvaluationMetrics:
    frame = dataset.schema.frames.from_columns(dataset.columns)
    models = baselines.Baselines(dataset.schema, frame, dataset.target, (split.train, split.validation, split.test))
    if name == "linear":
        return models.linear(lambda text: None)
    return models.constant() if name == "constant" else models.trees_unlimited()


def run_learner(name: str, dataset: Dataset, split: Split) -> tuple[EvaluationMetrics, float]:
    """The metrics and seconds of a learner of another package. Raises SubprocessError."""
    if not PYTHON.exists():
        raise UsageError(f"{PYTHON} is missing: run `make learners`")
    with tempfile.TemporaryDirectory() as folder:
        frame = learner_frame(dataset, split)
        frame.to_parquet(Path(folder) / "table.parquet", index=False)
        done = subprocess.run(
            [PYTHON, SCRIPT, name, folder], capture_output=True, text=True, timeout=SECONDS_PER_FIT, check=False
        )
        if done.returncode:
            raise subprocess.SubprocessError(done.stderr)
        outputs = np.load(Path(folder) / "outputs.npy")
    seconds = float(done.stdout.split()[-1])
    test = np.sort(split.test)  # the learner writes the outputs in the order of the table
    return evaluate(dataset.schema.task, dataset.target[test], outputs), seconds


def learner_frame(dataset: Dataset, split: Split) -> pd.DataFrame:
    """Convert the columns to inputs of other learners: numbers, and categories as level numbers in text form."""
    schema = dataset.schema
    numbers, codes = schema.frames.from_columns(dataset.columns)
    columns: dict[str, Any] = {f"n{j}": column for j, column in enumerate(numbers.T)}
    columns |= {f"c{j}": np.where(column < 0, None, column.astype(str)) for j, column in enumerate(codes.T)}
    part = np.zeros(len(dataset.target), np.int8)
    part[split.validation], part[split.test] = 1, 2
    task: Task = schema.task
    target = dataset.target.astype(np.float64 if task == "regression" else np.int64)
    return pd.DataFrame({**columns, "target": target, "part": part})
