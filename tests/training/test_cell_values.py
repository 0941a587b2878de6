"""The values of a column: numbers, booleans, levels."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.tables import Infer, cycle, has_notice
from training.build_dataset import load_dataset
from training.config import DataOptions


def test_numbers_are_numbers_with_range_and_example(infer: Infer) -> None:
    dataset = infer(a=cycle("1", "2.5", "-3e1", "+7", ".5"))
    feature = dataset.schema.by_name["a"]
    assert (feature.kind, feature.seen.min, feature.seen.max, feature.example) == ("number", -30, 7, 1)
    assert dataset.columns["a"][:5].tolist() == [1, 2.5, -30, 7, 0.5]


def test_zero_and_one_are_numbers(infer: Infer) -> None:
    assert infer(a=cycle(0, 1)).schema.by_name["a"].kind == "number"


def test_infinities_in_a_feature_are_missing_with_a_notice(infer: Infer) -> None:
    dataset = infer(a=cycle("1", "2", "inf", "-Infinity", "1e999"))
    assert np.isnan(dataset.columns["a"]).sum() == 120
    assert dataset.schema.by_name["a"].seen.max == 2
    assert has_notice(dataset, "'a': 120 cells are infinite")


@pytest.mark.parametrize("words", [("true", "false"), ("True", "FALSE")])
def test_true_and_false_in_any_case_are_booleans(infer: Infer, words: tuple[str, str]) -> None:
    dataset = infer(a=cycle(*words, ""))
    feature = dataset.schema.by_name["a"]
    assert (feature.kind, feature.nullable, feature.example) == ("boolean", True, False)
    assert dataset.columns["a"][:2].tolist() == [1, 0]


def test_yes_and_no_are_a_category(infer: Infer) -> None:
    dataset = infer(a=cycle("yes", "no", ""))
    assert dataset.schema.by_name["a"].seen.levels == ["no", "yes"]
    assert dataset.columns["a"][:3].tolist() == ["yes", "no", None]


def test_numbers_with_leading_zeros_are_a_category(infer: Infer) -> None:
    assert infer(a=cycle("02134", "10001", "90210")).schema.by_name["a"].seen.levels == ["02134", "10001", "90210"]


def test_decimal_commas_are_read_with_the_flag_and_without(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b;y\n" + "".join(f"{row % 7},5;x{row % 3};{row % 11},25\n" for row in range(100)))
    dataset = load_dataset(DataOptions(data=str(path), target="y", decimal=","))
    assert dataset.schema.task == "regression"
    assert dataset.columns["a"][:2].tolist() == [0.5, 1.5]
    found = load_dataset(DataOptions(data=str(path), target="b"))
    assert found.columns["a"][:2].tolist() == [0.5, 1.5]
    assert any("the decimal mark is ','" in notice and "(--decimal)" in notice for notice in found.notices)


def test_with_decimal_commas_a_point_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;y\n1.50;1,5\n" + "".join(f"{row},5;{row % 11},25\n" for row in range(100)))
    assert np.isnan(load_dataset(DataOptions(data=str(path), target="y", decimal=",")).columns["a"][0])
