"""The jobs of `training.quality` and their stored results, so that an interrupted run can continue."""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
DATA_FILES = (  # a change of the code of one of these files invalidates all stored results
    *("training/*_format*.py", "training/*_tables.py", "training/cell*.py", "training/column_*.py"),
    *("training/csv_*.py", "training/*encodings.py", "training/number_notation.py", "training/numeric_columns.py"),
    *("training/boolean_words.py", "training/isolated_cells.py", "training/infer_columns.py", "training/reading.py"),
    *("training/excel.py", "training/table_inputs.py", "training/raw_table.py", "training/target.py"),
    *("training/build_dataset.py", "training/dataset.py", "training/row_limit.py", "training/split_rule.py"),
    *(
        "training/row_hash.py",
        "training/splitting.py",
        "training/test_set.py",
        "training/evaluation.py",
        "models/schema.py",
        "models/frame.py",
        "models/encoding/*.py",
    ),
    *("models/feature.py", "models/cell_*.py", "models/date_*.py", "models/number_words.py"),
)
NETWORK_FILES = (  # a change of these files invalidates only the results of our networks
    *("models/architecture.py", "models/network/*.py", "models/keras_nets.py", "models/keras_export.py"),
    "models/text_score.py",
    *("training/config.py", "training/option_checks.py", "training/recipe.py", "training/fit.py"),
    *("training/fit_keras.py", "training/keras_options.py", "training/ensemble*.py", "training/temperature.py"),
    *("training/validation_loss.py", "training/folds.py", "training/training_run.py", "training/tensor_rows.py"),
    *("training/encoded_rows.py", "training/further_trials.py", "training/linear_*.py", "training/date_trial.py"),
    *("training/text_*.py", "training/final_fit.py", "training/network_fit.py", "training/pipeline.py"),
    *("training/paired_comparison.py", "training/second_network.py", "training/level_*.py", "training/out_of_fold.py"),
    "training/log_target_trial.py",
)
OTHER_FILES = ("training/baselines.py", "training/learners.py", "training/suite_quality.py")

Result = dict[str, Any]


class Job(NamedTuple):
    """One fit of one model on one split of one table."""

    table: str
    seed: int
    model: str  # network, plain, trees or, in the development suite, another learner
    fit: int  # the number of the fit; each fit has different initial weights


def jobs(tables: Sequence[str], seeds: Sequence[int], fits: int) -> Iterator[Job]:
    """All jobs, table by table."""
    for table in tables:
        for seed in seeds:
            yield Job(table, seed, "trees", 0)
            yield Job(table, seed, "plain", 0)
            yield from (Job(table, seed, "network", fit) for fit in range(fits))


def decisive_files(model: str) -> list[Path]:
    """The files whose change invalidates the results of a model."""
    patterns = DATA_FILES + (NETWORK_FILES if model in ("network", "plain") else OTHER_FILES)
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


@cache
def code_hash(model: str) -> str:
    """A hash of the code that determines a model's results, without comments and docstrings."""
    return hash_of(decisive_files(model))


def hash_of(paths: Iterable[Path]) -> str:
    """A hash of the code of files, without comments and docstrings."""
    return hashlib.sha256("".join(map(_code_of, paths)).encode()).hexdigest()[:12]


def _code_of(path: Path) -> str:
    """The code of a file, without comments and docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)


class Results:
    """The stored results, a line of JSON for each job. Results of older code are ignored, see `decisive_files`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        stored = [json.loads(line) for line in lines if line.endswith("}")]  # the last line may be cut off
        by_job = {Job(*entry["job"]): entry for entry in stored}
        self.by_job = {job: entry for job, entry in by_job.items() if entry["code"] == code_hash(job.model)}

    def __contains__(self, job: Job) -> bool:
        return job in self.by_job

    def add(self, job: Job, result: Result) -> None:
        """Store a result at once, so that an interrupted run can continue."""
        self.by_job[job] = {"job": job, "code": code_hash(job.model), **result}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.by_job[job]) + "\n")
