"""Small tables for the tests of type inference."""

from collections.abc import Callable
from typing import Any

import numpy as np

from training.config import DataOptions
from training.dataset import Dataset
from training.reading import read_table

ROWS = 200
LINES = "".join(f"{row},{row * 7 % 13 / 4},{['red', 'blue'][row % 2]}\n" for row in range(60))
CSV = "x,y,colour\n" + LINES
Infer = Callable[..., Dataset]


def plain_columns(rows: int = ROWS) -> dict[str, Any]:
    """A numeric feature x and a numeric target y."""
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=rows), "y": rng.normal(size=rows)}


def cycle(*values: Any, rows: int = ROWS) -> list[Any]:
    """A column in which the values repeat."""
    return [values[row % len(values)] for row in range(rows)]


def reason(dataset: Dataset, name: str) -> str:
    """The reason why a column is ignored."""
    return next(column.reason for column in dataset.schema.ignored if column.name == name)


def has_notice(dataset: Dataset, text: str) -> bool:
    return any(text in notice for notice in dataset.notices)


def read_column(path: str, name: str, **options: Any) -> list[Any]:
    """One column of a file as training reads it."""
    table = read_table(DataOptions(data=path, **options))
    return table.columns[table.names.index(name)].to_pylist()  # type: ignore[no-any-return]
