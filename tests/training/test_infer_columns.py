"""The range, the levels and the nullability of a feature are inferred from its column."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from models.feature import HASH_BUCKETS
from tests.training.tables import ROWS, Infer, cycle, has_notice, plain_columns
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.dataset import Dataset


def test_a_column_without_missing_cells_is_not_nullable(infer: Infer) -> None:
    assert not infer(a=cycle(1, 2, 3.5)).schema.by_name["a"].nullable


def test_ranges_and_levels_include_rows_without_a_target(
    infer: Infer,
) -> None:
    dataset = infer(
        y=[*plain_columns()["y"][:-1], ""],
        a=[*cycle("p", "q", rows=199), "rare"],
        b=[*cycle(1, 2, rows=199), 9],
        c=[*cycle(4, 5, rows=199), ""],
    )
    assert dataset.rows_used == ROWS - 1
    assert dataset.schema.by_name["a"].seen.levels == ["p", "q", "rare"]
    assert dataset.schema.by_name["b"].seen.max == 9
    assert dataset.schema.by_name["c"].nullable
    assert has_notice(dataset, "1 row without a target is left out")


def test_up_to_ten_thousand_levels_are_listed_and_more_are_hashed(infer: Infer) -> None:
    listed = infer(a=[f"v{row // 2}" for row in range(20_000)]).schema.by_name["a"].seen
    assert (len(listed.levels or ()), listed.hashed) == (10_000, None)
    hashed = infer(a=[f"v{row // 2}" for row in range(20_002)]).schema.by_name["a"].seen
    assert (hashed.levels, hashed.hashed, hashed.count, hashed.type) == (None, HASH_BUCKETS, 10_001, "text")


def test_time_per_row_does_not_grow_with_the_number_of_levels(tmp_path: Path) -> None:
    """A search in the list of all levels would take twenty times as long per row."""

    def load(rows: int) -> tuple[Dataset, float]:
        levels = np.random.default_rng(0).integers(0, rows * 10 // 3, rows)
        levels[: rows // 4] = levels[rows // 4 : rows // 2]
        path = tmp_path / f"{rows}.parquet"
        pd.DataFrame({"who": np.char.add("u", levels.astype(str)), "y": np.arange(rows) % 97 / 7}).to_parquet(path)
        start = time.process_time()
        return load_dataset(DataOptions(data=str(path), target="y")), time.process_time() - start

    many = 400_000  # about 260,000 distinct levels
    dataset, seconds = load(many)
    feature = dataset.schema.by_name["who"]
    assert feature.seen.hashed == HASH_BUCKETS
    assert (feature.seen.count or 0) > 200_000
    assert len(dataset.schema.to_json()) < 1000
    assert seconds < 5 * 20 * load(many // 20)[1]
