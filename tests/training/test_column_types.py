"""The rules for the type of a column, and which columns are ignored."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.training.tables import ROWS, Infer, cycle, has_notice, plain_columns, reason
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.errors import UsageError


def test_up_to_one_percent_of_invalid_cells_count_as_missing_with_a_notice(infer: Infer) -> None:
    dataset = infer(a=[*cycle("1.5", "2", "3", rows=198), "n/k", "n/k"])
    assert dataset.schema.by_name["a"].kind == "number"
    assert dataset.schema.by_name["a"].nullable
    assert np.isnan(dataset.columns["a"]).sum() == 2
    assert has_notice(dataset, "'a': 2 cells are not a number and count as missing")
    one = infer(a=[*cycle("1.5", "2", "3", rows=199), "n/k"])
    assert has_notice(one, "'a': 1 cell is not a number and counts as missing")


def test_more_than_one_percent_of_invalid_cells_make_a_category(infer: Infer) -> None:
    dataset = infer(a=[*cycle("1.5", "2", "3", rows=197), "n/k", "n/k", "n/k"])
    assert dataset.schema.by_name["a"].kind == "category"
    assert dataset.schema.by_name["a"].seen.levels == ["1.5", "2", "3", "n/k"]


def test_identifier_like_constant_and_empty_columns_are_left_out_with_a_reason(
    infer: Infer,
) -> None:
    dataset = infer(
        code=[f"k{row * 37 % 1009}" for row in range(ROWS)],
        count=range(5, 5 + ROWS),
        PassengerId=[row * 37 % 1009 for row in range(ROWS)],
        same=["s"] * ROWS,
        endless=["inf"] * ROWS,
        none=[""] * ROWS,
        note=[f"a long note that somebody wrote about matter number {row // 1.5:.0f}" for row in range(ROWS)],
        serial=[*[f"s{row}" for row in range(ROWS - 5)], *["s1"] * 5],
    )
    assert reason(dataset, "code") == reason(dataset, "PassengerId") == "different in every row"
    assert reason(dataset, "count") == "counts the rows"
    assert reason(dataset, "same") == "constant"
    assert reason(dataset, "endless") == "all infinite"
    assert reason(dataset, "none") == "empty"
    assert reason(dataset, "note").startswith("free text")
    assert reason(dataset, "serial").startswith("different in nearly every row")
    assert [feature.name for feature in dataset.schema.features] == ["x"]
    assert has_notice(dataset, "left out: ")


def test_long_values_without_words_are_left_out(infer: Infer) -> None:
    values = [f"{row // 1.5:.0f} " + "0123456789-" * 5 for row in range(ROWS)]
    assert reason(infer(trace=values), "trace").startswith("133 values of")


def test_numbers_of_a_typed_table_cannot_be_text(tmp_path: Path) -> None:
    """As text features, these numbers would be refused by the model that was trained on them."""
    path = tmp_path / "t.parquet"
    pd.DataFrame(plain_columns() | {"zip": range(ROWS)}).to_parquet(path)
    with pytest.raises(UsageError, match="column 'zip': its cells are of type number, not text"):
        load_dataset(DataOptions(data=str(path), target="y", text=("zip",)))


def test_distinct_decimals_and_unordered_integers_are_not_identifiers(infer: Infer) -> None:
    dataset = infer(paid=[row * 37 % 1009 for row in range(ROWS)])
    assert set(dataset.schema.by_name) == {"x", "paid"}


def test_column_of_one_level_and_blanks_is_not_constant(infer: Infer) -> None:
    assert infer(a=cycle("yes", "")).schema.by_name["a"].kind == "category"


def test_a_column_without_a_name_is_left_out(infer: Infer) -> None:
    assert reason(infer(**{"": cycle(3, 4)}), "") == "without a name"


def test_flags_override_inference(infer: Infer) -> None:
    dataset = infer(
        zip=cycle(1, 2.5, "3.0"), when=cycle("20240101", "20240205"), a=cycle("1", "x"), b=cycle(1, 2),
        categorical=("zip",), date=("when",), number=("a",), drop=("b",),
    )  # fmt: skip
    kinds = {feature.name: feature.kind for feature in dataset.schema.features}
    assert kinds == {"x": "number", "zip": "category", "when": "date", "a": "number"}
    assert dataset.schema.by_name["zip"].seen.levels == [1, 2.5, 3]
    assert isinstance(dataset.columns["zip"][2], int)
    assert reason(dataset, "b") == "dropped by --drop"
    assert has_notice(dataset, "'a': 100 cells are not a number")


def test_a_flag_keeps_an_identifier(infer: Infer) -> None:
    assert infer(id=range(ROWS), number=("id",)).schema.by_name["id"].kind == "number"
