"""The values of a column: numbers, booleans, levels."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from models.rows import validate_rows
from models.schema import FeatureSchema
from tests.training.posting import posted
from tests.training.tables import Infer, cycle, has_notice
from training.build_dataset import load_dataset
from training.config import DataOptions


def test_number_column_has_a_range_and_an_example(infer: Infer) -> None:
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


@pytest.mark.parametrize(
    ("cells", "true", "false"),
    [
        (["yes", "no", ""], ["yes"], ["no"]),
        (["Yes", "NO", "y"], ["y", "yes"], ["no"]),
        (["ja", "nein", "-"], ["ja"], ["nein"]),
        (["sí", "no", "NA"], ["sí"], ["no"]),
        (["нет", "Да", ""], ["да"], ["нет"]),
        (["T", "F", ""], ["t"], ["f"]),
        (["on", "off", "On"], ["on"], ["off"]),
        (["はい", "いいえ", ""], ["はい"], ["いいえ"]),
    ],
)
def test_words_for_true_and_false_are_booleans_in_every_format(
    infer: Infer, cells: list[str], true: list[str], false: list[str]
) -> None:
    dataset = infer(a=cycle(*cells))
    feature = dataset.schema.by_name["a"]
    assert (feature.kind, feature.cells.true, feature.cells.false) == ("boolean", true, false)
    assert has_notice(dataset, f"{true[0]!r}")
    expected = [1 if cell.casefold() in true else 0 if cell.casefold() in false else np.nan for cell in cells]
    np.testing.assert_array_equal(dataset.columns["a"][:3], expected)
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    for form, rows in posted(schema, {"x": ["0"] * 3, "a": cells}).items():
        assert not rows.errors, form
        np.testing.assert_array_equal(rows.frame.numbers[:, 1], expected, err_msg=form)


def test_true_and_false_are_accepted_in_a_column_of_words(infer: Infer) -> None:
    schema = infer(a=cycle("yes", "no", "")).schema
    rows = [{"x": 0, "a": True}, {"x": 0, "a": "False"}, {"x": 0, "a": unicodedata.normalize("NFD", "YES")}]
    assert validate_rows(schema, rows).frame.numbers[:, 1].tolist() == [1, 0, 1]
    assert [error.code for error in validate_rows(schema, [{"x": 0, "a": "maybe"}]).errors] == ["wrong_type"]


@pytest.mark.parametrize("cells", [["yes", ""], ["yes", "no", "maybe"], ["yes", "nein"], ["s", "n"], ["ja", "no"]])
def test_other_words_are_a_category(infer: Infer, cells: list[str]) -> None:
    assert infer(a=cycle(*cells)).schema.by_name["a"].kind == "category"


def test_words_for_booleans_stay_levels_with_a_flag_or_in_a_target(infer: Infer) -> None:
    dataset = infer(a=cycle("yes", "no"), categorical=("a",))
    assert dataset.schema.by_name["a"].seen.levels == ["no", "yes"]
    assert infer(b=cycle("yes", "no"), target="b").schema.classes == ["no", "yes"]


def test_numbers_with_leading_zeros_are_a_category(infer: Infer) -> None:
    assert infer(a=cycle("02134", "10001", "90210")).schema.by_name["a"].seen.levels == ["02134", "10001", "90210"]


def test_decimal_commas_are_read_with_and_without_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b;y\n" + "".join(f"{row % 7},5;x{row % 3};{row % 11},25\n" for row in range(100)))
    dataset = load_dataset(DataOptions(data=str(path), target="y", decimal=","))
    assert dataset.schema.task == "regression"
    assert dataset.columns["a"][:2].tolist() == [0.5, 1.5]
    found = load_dataset(DataOptions(data=str(path), target="b"))
    assert found.columns["a"][:2].tolist() == [0.5, 1.5]
    assert any("the decimal mark is ','" in notice and "(--decimal)" in notice for notice in found.notices)


def test_point_is_not_read_as_decimal_mark_with_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;y\n1.50;1,5\n" + "".join(f"{row},5;{row % 11},25\n" for row in range(100)))
    assert np.isnan(load_dataset(DataOptions(data=str(path), target="y", decimal=",")).columns["a"][0])
