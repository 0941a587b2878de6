"""A row is in the same set in every training run, and versions are compared on rows that neither was trained on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.build_dataset import load_dataset
from training.config import DataOptions
from training.content_hash import hash_columns
from training.dataset import Dataset
from training.row_hash import row_hashes
from training.splitting import split_rows
from training.test_set import NotComparable, column_types, in_test_set, unseen_rows
from training.text_columns import with_candidates

Load = Callable[..., Dataset]


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=rows).round(6), "b": rng.choice(["x", "y", "z"], rows)})
    frame["day"] = np.arange(rows)
    frame["y"] = (frame["a"] * 2 + rng.normal(size=rows)).round(4)
    return frame


def options_for(tmp_path: Path, frame: pd.DataFrame, **options: object) -> DataOptions:
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    return replace(DataOptions(data=str(path), target="y"), **options)  # type: ignore[arg-type]


def test_row_hash_depends_only_on_the_content() -> None:
    columns = {"a": np.array([0.0, -0.0, 1.5, np.nan]), "b": np.array(["x", "x", None, "é"], object)}
    hashes = hash_columns(columns.items())
    assert hashes[0] == hashes[1]
    assert len(set(hashes.tolist())) == 3
    assert hashes.tolist() == hash_columns(reversed(columns.items())).tolist()
    assert hashes[[0, 2]].tolist() == [893860297309929354, 13323435005910045430]


def test_rows_stay_in_the_test_set_when_the_table_grows(tmp_path: Path) -> None:
    frame = table(3000).drop(columns="day")
    first = load_dataset(options := options_for(tmp_path, frame.head(2000)))
    before = split_rows(first, options)
    share = len(before.test) / 2000
    assert abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 2000)
    options = options_for(tmp_path, frame.sample(frac=1, random_state=1))
    second = load_dataset(options)
    after = split_rows(second, options)
    test, learned = row_hashes(first)[before.test], np.concatenate([before.train, before.validation])
    assert set(test) <= set(row_hashes(second)[after.test])
    assert not set(row_hashes(first)[learned]) & set(row_hashes(second)[after.test])
    unseen = unseen_rows(before.record, after.record, second)
    assert set(after.test) == set(np.flatnonzero(unseen))


def test_test_set_does_not_depend_on_text_columns(tmp_path: Path) -> None:
    """Rows are split before training decides whether to use text columns."""
    frame = table(3000).drop(columns="day")
    frame["note"] = [f"note {row} about the lake and the mill" for row in range(len(frame))]
    options = options_for(tmp_path, frame.head(2000))
    before = split_rows(load_dataset(options), options)
    options = options_for(tmp_path, frame)
    dataset = load_dataset(options)
    after = split_rows(dataset, options)
    used = with_candidates(dataset)
    assert "note" in used.columns
    assert set(after.test) == set(np.flatnonzero(unseen_rows(before.record, after.record, used)))


def test_hash_split_is_the_default_only_for_large_tables(tmp_path: Path) -> None:
    options = options_for(tmp_path, table(900))
    assert split_rows(load_dataset(options), options).how == "random, seed 42"
    options = options_for(tmp_path, table(1000), split="random")
    assert split_rows(load_dataset(options), options).how == "random, seed 42"
    options = options_for(tmp_path, table(900), split="hash")
    assert split_rows(load_dataset(options), options).how.startswith("by a hash of each row")


def test_rows_of_rare_classes_are_used_only_for_training(tmp_path: Path) -> None:
    frame = table(1200)
    frame["y"] = np.where(frame["a"] > 0, "high", "low")
    frame.loc[[1, 5], "y"] = "rare"
    options = options_for(tmp_path, frame)
    dataset = load_dataset(options)
    split = split_rows(dataset, options)
    rare = dataset.target == list(dataset.schema.classes or ()).index("rare")
    assert not rare[split.test].any()
    inside = in_test_set(row_hashes(dataset)) & rare
    assert split.record["learned_classes"] == (["rare"] if inside.any() else [])
    later = split.record | {"rows": 0, "learned_classes": ["rare"]}
    assert not rare[unseen_rows(later, split.record, dataset)].any()


def test_rows_after_the_last_learned_time_are_unseen(tmp_path: Path) -> None:
    frame = table(1500)
    options = options_for(tmp_path, frame.head(1000), split="time:day")
    before = split_rows(load_dataset(options), options)
    options = options_for(tmp_path, frame, split="time:day")
    dataset = load_dataset(options)
    after = split_rows(dataset, options)
    assert dataset.split_key is not None
    unseen = unseen_rows(before.record, after.record, dataset)
    assert set(dataset.split_key[unseen]) == set(range(800, 1500))


def test_groups_without_training_rows_are_unseen(tmp_path: Path) -> None:
    frame = table(1500)
    frame["who"] = [f"client {row % 100}" for row in range(1500)]
    frame.loc[frame.index % 31 == 0, "who"] = None
    options = options_for(tmp_path, frame.head(1000), split="group:who")
    before = split_rows(load_dataset(options), options)
    learned = set(frame["who"].iloc[np.concatenate([before.train, before.validation])].dropna())
    options = options_for(
        tmp_path, frame.assign(who=frame["who"].replace("client 7", "a new client")), split="group:who"
    )
    dataset = load_dataset(options)
    after = split_rows(dataset, options)
    unseen = unseen_rows(before.record, after.record, dataset)
    judged = after.test[unseen[after.test]]
    assert len(judged) > 200
    names = frame["who"].iloc[judged]
    assert not names.isna().any()
    assert not set(names) & learned - {"client 7"}


def test_incomparable_test_sets_are_not_compared(tmp_path: Path) -> None:
    options = options_for(tmp_path, table(1200), split="random")
    dataset = load_dataset(options)
    record = split_rows(dataset, options).record
    assert unseen_rows(record, record, dataset).all()
    hashed = split_rows(dataset, replace(options, split="hash")).record
    for present, new, message in (
        (None, record, "did not record"),
        (hashed, record, "the split was by a hash of each row"),
        (record | {"table": "other"}, record, "differ between training runs"),
        (hashed | {"rows": 3, "columns": column_types(dataset) | {"a": "category"}}, hashed, "have changed"),
    ):
        with pytest.raises(NotComparable, match=message):
            unseen_rows(present, new, dataset)
