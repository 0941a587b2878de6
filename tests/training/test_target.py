"""The task and the classes of a target are inferred, and targets that cannot be learned are rejected."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.training.tables import ROWS, Infer, cycle, has_notice, plain_columns
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.errors import UsageError


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        (cycle(3, 5), "binary", [3, 5]),
        (cycle("7.0", "9.0", "1"), "multiclass", [1, 7, 9]),
        (cycle("b", "a, with a comma"), "binary", ["a, with a comma", "b"]),
        (cycle("True", "False"), "binary", [False, True]),
        (cycle("01", "02"), "binary", ["01", "02"]),
        (cycle(*range(21)), "regression", None),
        ([*[1] * 4, *[2] * 196], "regression", None),
        (cycle(0.5, 1), "regression", None),
    ],
)
def test_the_task_is_inferred(infer: Infer, cells: list[Any], task: str, classes: list[Any] | None) -> None:
    dataset = infer(y=cells)
    assert (dataset.schema.task, dataset.schema.classes) == (task, classes)
    assert [type(label) for label in dataset.schema.classes or ()] == [type(label) for label in classes or ()]


def test_the_notice_names_the_flag_that_overrides_the_task(infer: Infer) -> None:
    assert has_notice(infer(y=cycle(1, 2)), "--task regression")
    assert has_notice(infer(y=cycle(1, 2.5)), "--task classification")


def test_notice_calls_only_exactly_representable_numbers_integers(infer: Infer) -> None:
    assert has_notice(infer(y=range(ROWS)), "200 different integers")
    assert has_notice(infer(y=[2**60 + row * 4096 for row in range(ROWS)]), "200 different numbers")
    assert has_notice(infer(y=cycle(1.5e300, 2.5e300)), "2 different numbers")


def test_numbers_with_another_decimal_mark_may_be_classes(
    infer: Infer,
) -> None:
    assert infer(y=cycle("1,5", "2,5"), task="classification").schema.classes == ["1,5", "2,5"]


def test_task_flag_overrides_the_inferred_task(infer: Infer) -> None:
    assert infer(y=cycle(1, 2), task="regression").target.tolist()[:2] == [1.0, 2.0]
    assert infer(y=cycle(1, 2.5), task="classification").schema.classes == [1, 2.5]


def test_target_values_are_positions_of_the_classes(infer: Infer) -> None:
    dataset = infer(y=cycle(30, 10, "", 20))
    assert dataset.target.tolist()[:3] == [2, 0, 1]
    assert dataset.target.dtype == np.int64
    assert dataset.row_numbers.tolist()[:3] == [0, 1, 3]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([""] * ROWS, "missing in every row"),
        (cycle(1.5, 2, "inf"), "infinite in 66 rows"),
        (["a"] * ROWS, "one class only, 'a'"),
        ([1] * ROWS, "one class only, 1"),
        ([1.5] * ROWS, "is 1.5 in every row"),
        ([f"c{row}" for row in range(1001)], "1,001 classes, at most 1,000"),
        ([*cycle("a", "b", rows=49), *[""] * 151], "49 usable rows"),
    ],
)
def test_a_target_that_cannot_be_learned_is_rejected(infer: Infer, cells: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        infer(y=cells, x=cycle(1, 2, rows=len(cells)))


def test_a_parquet_target_keeps_its_type(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame(plain_columns() | {"y": cycle("1", "2")}).to_parquet(path)
    assert load_dataset(DataOptions(data=str(path), target="y")).schema.classes == ["1", "2"]
