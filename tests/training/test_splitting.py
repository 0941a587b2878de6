"""Splits are reproducible and do not overlap, and notices name the likely causes of metrics that are too good."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.training.tables import cycle
from training.build_dataset import load_dataset
from training.bundled import BUNDLED, bundled_options
from training.config import DataOptions
from training.errors import UsageError
from training.isolated_cells import isolated_rows
from training.splitting import Split, split_rows


def table(**more: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.normal(size=100), "z": rng.normal(size=100), **more, "y": rng.normal(size=100)})


def split_table(frame: pd.DataFrame, write: Callable[..., str], split: str, **more: Any) -> tuple[Any, Split]:
    options = DataOptions(data=write(frame.to_csv(index=False)), target="y", split=split, **more)
    dataset = load_dataset(options)
    return dataset, split_rows(dataset, options)


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_a_bundled_table_is_split_without_overlap(name: str) -> None:
    options = bundled_options(name)
    dataset = load_dataset(options)
    parts = split_rows(dataset, options)
    whole = np.concatenate([parts.train, parts.validation, parts.test])
    left_out = set(range(dataset.rows_used)) - set(whole.tolist())
    assert len(whole) == dataset.rows_used - len(left_out)
    assert left_out == set(np.flatnonzero(isolated_rows(dataset)).tolist()) - set(parts.test.tolist())
    assert len(left_out) <= 5, "diamonds has lengths of 30 and 60 mm; the other lengths are below 12 mm"
    frame = dataset.schema.frames.from_columns(dataset.columns)
    assert len(frame.numbers) == len(dataset.target)


def test_income_is_tested_on_its_official_rows() -> None:
    options = bundled_options("income")
    parts = split_rows(load_dataset(options), options)
    assert sorted(parts.test.tolist()) == list(range(16281))


def test_only_equal_seeds_give_equal_splits(write: Callable[..., str]) -> None:
    first, again, other = (split_table(table(), write, "random", seed=seed)[1] for seed in (1, 1, 2))
    assert first.test.tolist() == again.test.tolist() != other.test.tolist()
    assert (len(first.train), len(first.validation), len(first.test)) == (64, 16, 20)


def test_random_split_keeps_class_proportions(write: Callable[..., str]) -> None:
    dataset, parts = split_table(table().assign(y=["a"] * 80 + ["b"] * 20), write, "random")
    assert dataset.target[parts.test].sum() == 4


def test_classes_too_rare_to_split_stay_in_the_train_set_with_a_notice(write: Callable[..., str]) -> None:
    dataset, parts = split_table(table().assign(y=["a"] * 50 + ["b"] * 48 + ["c", "d"]), write, "random")
    assert set(dataset.target[parts.train]) == {0, 1, 2, 3}
    assert any(notice.startswith("2 classes with fewer than") for notice in parts.notices)


def test_more_classes_than_test_rows_are_not_stratified_with_a_notice(write: Callable[..., str]) -> None:
    _, parts = split_table(table().assign(y=[f"c{row % 30}" for row in range(100)]), write, "random")
    assert any("not stratified" in notice for notice in parts.notices)


def test_a_target_with_only_rare_classes_is_rejected(write: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match=r"none of its 50 classes has 3 rows; .*--task regression, --decimal ,"):
        split_table(table().assign(y=[f"c{row % 50}" for row in range(100)]), write, "random")


def test_rare_classes_left_for_training_are_split_at_random(write: Callable[..., str]) -> None:
    classes = [f"c{row % 40}" for row in range(80)] + ["c1"] * 20
    _, parts = split_table(table(part=["train"] * 80 + ["test"] * 20).assign(y=classes), write, "column:part")
    assert len(parts.validation) == 16
    assert any("not stratified" in notice for notice in parts.notices)


def test_split_by_time_uses_the_latest_rows_as_test_set(write: Callable[..., str]) -> None:
    days = pd.date_range("2020-01-01", periods=100).strftime("%d.%m.%Y").to_numpy()
    shuffled = np.random.default_rng(3).permutation(100)
    dataset, parts = split_table(table(day=days[shuffled]), write, "time:day")
    day = dataset.columns["day"]
    assert day[parts.train].max() < day[parts.validation].min()
    assert day[parts.validation].max() < day[parts.test].min()
    assert len(parts.test) == 20
    assert "day" in dataset.schema.by_name


def test_each_group_is_in_only_one_set(write: Callable[..., str]) -> None:
    groups = np.arange(100) % 17
    dataset, parts = split_table(table(who=groups), write, "group:who")
    seen = [set(groups[part].tolist()) for part in (parts.train, parts.validation, parts.test)]
    assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2])
    assert "who" not in dataset.schema.by_name
    assert 10 <= len(parts.test) <= 30


def test_a_column_can_define_the_split(write: Callable[..., str]) -> None:
    part = ["Train"] * 60 + ["val"] * 20 + ["test"] * 20
    _, parts = split_table(table(part=part), write, "column:part")
    assert parts.test.tolist() == list(range(80, 100))
    assert parts.validation.tolist() == list(range(60, 80))


KILOMETRES = [f"{number:,} km" for number in range(990, 1090)]


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (KILOMETRES, {}),
        (KILOMETRES, {"drop": ("when",)}),
        ([cell.replace(",", ".").removesuffix(" km") for cell in KILOMETRES], {"thousands": "."}),
        ([f"{day:%d%m%Y}" for day in pd.date_range("2023-12-01", periods=100)], {"date_format": "%d%m%Y"}),
        ([f"{day:%d.%m.%Y}" for day in pd.date_range("2023-12-01", periods=100)], {}),
        ([f"{day:%d.%m.%Y}" for day in pd.date_range("2023-12-01", periods=100)], {"drop": ("when",)}),
    ],
)
def test_split_times_use_the_cell_format_of_their_column(
    write: Callable[..., str], cells: list[str], options: dict[str, Any]
) -> None:
    shuffled = np.random.default_rng(1).permutation(100)
    frame = table(when=np.array(cells)[shuffled])
    _, parts = split_table(frame, write, "time:when", **options)
    assert sorted(shuffled[parts.test].tolist()) == list(range(80, 100))


def test_rows_without_a_time_count_as_the_oldest(write: Callable[..., str]) -> None:
    cells = [f"{number} km" for number in range(100)]
    cells[99] = "-"
    _, parts = split_table(table(when=cells), write, "time:when")
    assert 99 in parts.train
    assert "1 row without a time counts as the oldest" in parts.notices


def test_split_times_use_the_date_format_of_an_edited_schema(write: Callable[..., str], tmp_path: Path) -> None:
    days = [f"{day:%d%m%Y}" for day in pd.date_range("2023-12-01", periods=100)]
    data = write(table(when=days).to_csv(index=False))
    options = DataOptions(data=data, target="y", date=("when",), date_format="%d%m%Y")
    schema = tmp_path / "features.json"
    schema.write_text(load_dataset(options).schema.to_json())
    options = DataOptions(data=data, target="y", schema=str(schema), split="time:when")
    assert sorted(split_rows(load_dataset(options), options).test.tolist()) == list(range(80, 100))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("tme:day", "did you mean time:COLUMN"),
        ("time", "none of random"),
        ("time:dya", "no column 'dya', did you mean 'day'"),
        ("time:colour", "neither dates nor numbers"),
        ("column:colour", "must have train, validation or test"),
        ("group:same", "at least 3 groups"),
        ("time:y", "is the target"),
        ("column:part", "no rows for the test part"),
    ],
)
def test_impossible_split_is_rejected(write: Callable[..., str], split: str, message: str) -> None:
    frame = table(day=range(100), colour=["red", "blue"] * 50, same=[1] * 100, part=["train"] * 100)
    with pytest.raises(UsageError, match=message):
        split_table(frame, write, split)


def test_duplicates_of_train_rows_in_the_test_set_are_reported(write: Callable[..., str]) -> None:
    frame = table()
    twice = pd.concat([frame, frame.iloc[:50]])
    _, parts = split_table(twice, write, "random")
    assert any("test rows are also in the train set" in notice for notice in parts.notices)
    assert split_table(frame, write, "random")[1].notices == []


def test_a_random_split_of_a_table_with_dates_is_reported(write: Callable[..., str]) -> None:
    days = pd.date_range("2020-01-01", periods=100).strftime("%Y-%m-%d")
    _, parts = split_table(table(day=days), write, "random")
    assert any("train with --split 'time:day'" in notice for notice in parts.notices)


def test_rows_with_levels_of_any_type_are_compared_for_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"a": pd.Categorical(cycle(1, 2.5, None)), "b": cycle(True, False), "y": cycle("u", "v")})
    frame.to_parquet(path)
    options = DataOptions(data=str(path), target="y", categorical=("b",))
    dataset = load_dataset(options)
    assert dataset.schema.by_name["b"].seen.levels == [False, True]
    assert any("40 of 40 test rows" in notice for notice in split_rows(dataset, options).notices)
