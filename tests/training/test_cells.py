"""Missing cells of a column, and the types of the cells of Parquet files."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.training.tables import ROWS, Infer, cycle, plain_columns, reason
from training import cells
from training.build_dataset import load_dataset
from training.config import DataOptions


def test_blanks_around_cells_are_removed(infer: Infer) -> None:
    dataset = infer(a=cycle(" red", "blue ", " ?"), b=cycle(" 1", "2 ", "4"))
    assert dataset.schema.by_name["a"].seen.levels == ["blue", "red"]
    assert dataset.schema.by_name["a"].nullable
    assert dataset.schema.by_name["b"].kind == "number"


@pytest.mark.parametrize("token", ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"])
def test_default_missing_tokens_are_missing(infer: Infer, token: str) -> None:
    dataset = infer(a=cycle("red", "blue", token), b=cycle("1", "2.5", token))
    assert dataset.schema.by_name["a"].nullable
    assert dataset.schema.by_name["b"].nullable
    assert np.isnan(dataset.columns["b"][2])


def test_other_missing_tokens_replace_the_defaults_except_the_empty_cell(infer: Infer) -> None:
    dataset = infer(a=cycle("NA", "-", "", "x"), na=("-",))
    assert dataset.schema.by_name["a"].seen.levels == ["NA", "x"]
    assert dataset.schema.missing == ["", "-"]


def test_parquet_types_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "TEXT_ROWS", 2)
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame(
        plain_columns()
        | {
            "flag": cycle(True, False, None),
            "whole": pd.array(cycle(1, 2, None), dtype="Int64"),
            "price": cycle(Decimal("1.50"), Decimal("2.25")),
            "day": pd.to_datetime(cycle("2020-01-01", "2021-06-01")),
            "moment": pd.to_datetime(cycle("2020-01-01 10:00", "2021-06-01 11:30")).tz_localize("Europe/Berlin"),
            "size": pd.Categorical(cycle(3, 4.5, 10)),
            "digits": cycle("1", "2", "3"),
            "words": cycle("a", "b", "?", None),
            "lists": [[1, 2]] * ROWS,
            "y": cycle(False, True),
        }
    )
    frame.to_parquet(path)
    dataset = load_dataset(DataOptions(data=str(path), target="y"))
    kinds = {feature.name: feature.kind for feature in dataset.schema.features}
    assert kinds == {
        "x": "number", "flag": "boolean", "whole": "number", "price": "number", "day": "date", "moment": "date",
        "size": "category", "digits": "category", "words": "category",
    }  # fmt: skip
    assert dataset.schema.classes == [False, True]
    assert dataset.schema.by_name["size"].seen.levels == [3, 4.5, 10]
    assert dataset.schema.by_name["digits"].seen.levels == ["1", "2", "3"]
    assert dataset.schema.by_name["day"].seen.min == "2020-01-01"
    assert dataset.columns["moment"][0] == datetime(2020, 1, 1, 9, tzinfo=UTC).timestamp()
    assert "cannot be used" in reason(dataset, "lists")
