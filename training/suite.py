"""The development suite: tables of other packages (`suite.csv`), on which recipes are compared.

`python -m training.suite` checks the hashes of the packages' files and writes the tables to `FOLDER` as Parquet (`make
suite` installs the packages first). Half A may be used to develop a recipe; half B is measured at the end.
"""

import csv
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.config import DataOptions
from training.errors import UsageError

FOLDER = Path("build/suite")
PACKAGES = FOLDER / "packages"
LIST = Path(__file__).with_name("suite.csv")
PART = "suite_part"  # the column that marks the rows of the test set
FOLDS = 3
SMALL = 5000  # tables with fewer rows are measured by repeated cross-validation
REPETITIONS = 5  # repetitions of the cross-validation

Half = Literal["A", "B"]


@dataclass(frozen=True)
class SuiteTable:
    """A line of `suite.csv`. file: a file of the package, or `sklearn:NAME` for a loader."""

    name: str
    package: str
    file: str
    target: str
    drop: str  # column names, separated by spaces
    split: str  # how rows are split, if not at random
    task: str  # if it is not inferred
    licence: str  # licence of the package
    sha256: str

    @property
    def half(self) -> Half:
        """The half of a table. A hash of the name decides, so that the assignment is arbitrary."""
        return "B" if hashlib.sha256(self.name.encode()).digest()[0] % 2 else "A"

    @property
    def path(self) -> Path:
        return FOLDER / "tables" / f"{self.name}.parquet"


def read_list() -> dict[str, SuiteTable]:
    """The tables of the suite by name."""
    with LIST.open(encoding="utf-8", newline="") as file:
        return {line["name"]: SuiteTable(**line) for line in csv.DictReader(file)}


def tables_of(half: Half) -> list[SuiteTable]:
    return [table for table in read_list().values() if table.half == half]


def splits_of(table: SuiteTable) -> int:
    """The number of splits of a table: folds of a repeated cross-validation, 3 for large tables, 1 for a split by
    time."""
    if table.split:
        return 1
    return FOLDS * REPETITIONS if row_count(table) < SMALL else FOLDS


def row_count(table: SuiteTable) -> int:
    import pyarrow.parquet as parquet

    if not table.path.exists():
        raise UsageError(f"{table.path} is missing: run `make suite`")
    return int(parquet.read_metadata(table.path).num_rows)


def options_of(table: SuiteTable, split: int) -> DataOptions:
    """The options of one split of a table. Folds are written next to the table, with a column for the set."""
    common: dict[str, Any] = {
        "target": table.target,
        "name": table.name,
        "drop": tuple(table.drop.split()),
        "task": table.task or None,
        "seed": split,
    }
    if table.split or row_count(table) >= SMALL:
        return DataOptions(data=str(table.path), split=table.split or "random", **common)
    path = table.path.with_name(f"{table.name}-{split}.parquet")
    frame = pd.read_parquet(table.path)
    test = draw_fold(len(frame), split)
    frame.assign(**{PART: np.where(test, "test", "train")}).to_parquet(path, index=False)
    return DataOptions(data=str(path), split=f"column:{PART}", **common)


def draw_fold(rows: int, split: int) -> npt.NDArray[np.bool_]:
    """(rows,): whether a row is in the test set of a split: fold split % 3 of repetition split // 3."""
    order = np.random.default_rng(split // FOLDS).permutation(rows)
    return np.asarray(order % FOLDS == split % FOLDS)


def fetch(table: SuiteTable) -> None:
    """Write a table as Parquet, from a file with the listed hash. Raises UsageError."""
    if table.sha256:
        path = PACKAGES / table.file
        if not path.exists():
            raise UsageError(f"{path} is missing: run `make suite`")
        if hashlib.sha256(path.read_bytes()).hexdigest() != table.sha256:
            raise UsageError(f"{path} is not the file listed in {LIST.name}")
    frame = _load_frame(table.file)
    for name in frame.columns[[str(dtype) in ("category", "object") for dtype in frame.dtypes]]:
        frame[name] = [None if pd.isna(value) else str(value) for value in frame[name]]
    frame = frame.dropna(subset=[table.target])
    table.path.parent.mkdir(parents=True, exist_ok=True)
    frame.rename(columns=str).to_parquet(table.path, index=False)


def _load_frame(file: str) -> Any:
    """Read a file whose hash was checked, or a table of scikit-learn."""
    if file.startswith("sklearn:"):
        from sklearn import datasets

        return getattr(datasets, f"load_{file.removeprefix('sklearn:')}")(as_frame=True).frame
    path = PACKAGES / file
    if path.suffix == ".dta":
        return pd.read_stata(path)
    if path.suffix == ".compress":
        return pd.read_pickle(path, compression="xz").drop(columns="rownames", errors="ignore")
    if path.suffix == ".dat":
        frame = pd.read_csv(path, header=None, skipinitialspace=True)
        frame.columns = pd.Index([*(f"x{i}" for i in range(frame.shape[1] - 1)), "class"])
        return frame
    return pd.read_csv(path, low_memory=False)


def main() -> int:
    """Write all tables of the suite."""
    try:
        for table in read_list().values():
            fetch(table)
            print(f"{table.name:18} {table.half}  {row_count(table):7,} rows  {table.package}, {table.licence}")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
