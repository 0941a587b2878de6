"""Each rule of inference is a claim; bad tables end in one line; messy real tables come out right."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from models.feature import HASH_BUCKETS, Feature
from models.rows import validate_rows
from models.schema import FeatureSchema
from training import columns, data
from training.columns import Dataset
from training.config import DataOptions
from training.errors import UsageError

ROWS = 200


@pytest.fixture
def understand(tmp_path: Path) -> Callable[..., Dataset]:
    """Write columns as CSV beside a numeric feature x and a target y, and understand them."""

    def understood(**cells: Any) -> Dataset:
        options = {key: cells.pop(key) for key in list(cells) if key in DataOptions.__dataclass_fields__}
        path = tmp_path / "table.csv"
        rows = len(next(iter(cells.values()), range(ROWS)))
        pd.DataFrame(plain(rows) | cells).to_csv(path, index=False)
        return columns.load(DataOptions(**{"data": str(path), "target": "y"} | options))

    return understood


def plain(rows: int = ROWS) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=rows), "y": rng.normal(size=rows)}


def cycle(*values: Any, rows: int = ROWS) -> list[Any]:
    return [values[row % len(values)] for row in range(rows)]


def reason(dataset: Dataset, name: str) -> str:
    return next(column.reason for column in dataset.schema.ignored if column.name == name)


def told(dataset: Dataset, text: str) -> bool:
    return any(text in notice for notice in dataset.notices)


# Kinds


def test_numbers_are_numbers_with_range_and_example(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=cycle("1", "2.5", "-3e1", "+7", ".5"))
    feature = dataset.schema.by_name["a"]
    assert (feature.kind, feature.seen.min, feature.seen.max, feature.example) == ("number", -30, 7, 1)
    assert dataset.columns["a"][:5].tolist() == [1, 2.5, -30, 7, 0.5]


def test_zero_and_one_are_numbers(understand: Callable[..., Dataset]) -> None:
    assert understand(a=cycle(0, 1)).schema.by_name["a"].kind == "number"


def test_up_to_one_percent_of_odd_cells_count_as_missing_with_a_notice(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=[*cycle("1.5", "2", "3", rows=198), "n/k", "n/k"])
    assert dataset.schema.by_name["a"].kind == "number"
    assert dataset.schema.by_name["a"].nullable
    assert np.isnan(dataset.columns["a"]).sum() == 2
    assert told(dataset, "'a': 2 cells are not a number")


def test_more_than_one_percent_of_odd_cells_make_a_category(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=[*cycle("1.5", "2", "3", rows=197), "n/k", "n/k", "n/k"])
    assert dataset.schema.by_name["a"].kind == "category"
    assert dataset.schema.by_name["a"].seen.levels == ["1.5", "2", "3", "n/k"]


def test_infinities_in_a_feature_are_missing_with_a_notice(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=cycle("1", "2", "inf", "-Infinity", "1e999"))
    assert np.isnan(dataset.columns["a"]).sum() == 120
    assert dataset.schema.by_name["a"].seen.max == 2
    assert told(dataset, "'a': 120 cells are infinite")


@pytest.mark.parametrize("words", [("true", "false"), ("True", "FALSE")])
def test_true_and_false_in_any_case_are_booleans(understand: Callable[..., Dataset], words: tuple[str, str]) -> None:
    dataset = understand(a=cycle(*words, ""))
    feature = dataset.schema.by_name["a"]
    assert (feature.kind, feature.nullable, feature.example) == ("boolean", True, False)
    assert dataset.columns["a"][:2].tolist() == [1, 0]


def test_yes_and_no_are_a_category(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=cycle("yes", "no", ""))
    assert dataset.schema.by_name["a"].seen.levels == ["no", "yes"]
    assert dataset.columns["a"][:3].tolist() == ["yes", "no", None]


def test_numbers_with_leading_zeros_are_a_category(understand: Callable[..., Dataset]) -> None:
    assert understand(a=cycle("02134", "10001", "90210")).schema.by_name["a"].seen.levels == ["02134", "10001", "90210"]


def test_blanks_around_cells_are_no_part_of_them(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=cycle(" red", "blue ", " ?"), b=cycle(" 1", "2 ", "4"))
    assert dataset.schema.by_name["a"].seen.levels == ["blue", "red"]
    assert dataset.schema.by_name["a"].nullable
    assert dataset.schema.by_name["b"].kind == "number"


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ("%Y-%m-%d", "iso"),
        ("%Y-%m-%dT%H:%M:%SZ", "iso"),
        ("%Y-%m-%d %H:%M", "iso"),
        ("%Y-%m-%dT%H:%M:%S+02:00", "iso"),
        ("%d.%m.%Y", "%d.%m.%Y"),
        ("%m/%d/%Y", "%m/%d/%Y"),
        ("%d/%m/%Y", "%d/%m/%Y"),
        ("%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S"),
        ("%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M %p"),
        ("%d-%b-%Y", "%d-%b-%Y"),
        ("%B %d, %Y", "%B %d, %Y"),
        ("%m/%d/%y", "%m/%d/%y"),
        ("%Y/%m/%d", "%Y/%m/%d"),
    ],
)
def test_dates_are_recognised_in_their_format(understand: Callable[..., Dataset], form: str, named: str) -> None:
    texts = pd.date_range("1999-01-04 13:05", periods=ROWS, freq="37h").strftime(form).tolist()
    dataset = understand(a=texts)
    feature = dataset.schema.by_name["a"]
    assert (feature.kind, feature.date_format) == ("date", named)
    assert dataset.columns["a"].tolist() == [feature.parse_date(text) for text in texts]
    assert (feature.seen.min, feature.seen.max) == (texts[0], texts[-1])
    assert not told(dataset, "the first is taken")


def test_a_date_that_reads_two_ways_is_told(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=cycle("01/02/2020", "03/04/2021", "05/05/2022"))
    assert told(dataset, "fit %m/%d/%Y and %d/%m/%Y")


def test_a_few_cells_that_are_no_dates_are_missing(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=[*cycle("2020-01-01", "2021-05-01", rows=199), "2020-02-31"])
    assert dataset.schema.by_name["a"].kind == "date"
    assert np.isnan(dataset.columns["a"][-1])


def test_naive_dates_are_utc(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=cycle("2020-01-01", "2021-05-01"))
    assert dataset.columns["a"][0] == datetime(2020, 1, 1, tzinfo=UTC).timestamp()


def test_decimal_commas_are_read_when_said_and_hinted_at_when_not(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b;y\n" + "".join(f"{row % 7},5;x{row % 3};{row % 11},25\n" for row in range(100)))
    dataset = columns.load(DataOptions(data=str(path), target="y", decimal=","))
    assert dataset.schema.task == "regression"
    assert dataset.columns["a"][:2].tolist() == [0.5, 1.5]
    unread = columns.load(DataOptions(data=str(path), target="b"))
    assert any("--decimal" in decision.why for decision in unread.decisions if decision.column == "a")


def test_with_decimal_commas_a_point_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;y\n1.500;1,5\n" + "".join(f"{row},5;{row % 11},25\n" for row in range(100)))
    assert np.isnan(columns.load(DataOptions(data=str(path), target="y", decimal=",")).columns["a"][0])


# Missing


@pytest.mark.parametrize("token", ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"])
def test_the_missing_tokens_are_missing(understand: Callable[..., Dataset], token: str) -> None:
    dataset = understand(a=cycle("red", "blue", token), b=cycle("1", "2.5", token))
    assert dataset.schema.by_name["a"].nullable
    assert dataset.schema.by_name["b"].nullable
    assert np.isnan(dataset.columns["b"][2])


def test_other_tokens_replace_the_usual_ones_but_empty_stays(understand: Callable[..., Dataset]) -> None:
    dataset = understand(a=cycle("NA", "-", "", "x"), na=("-",))
    assert dataset.schema.by_name["a"].seen.levels == ["NA", "x"]
    assert dataset.schema.missing == ["", "-"]


def test_a_column_without_missing_cells_is_not_nullable(understand: Callable[..., Dataset]) -> None:
    assert not understand(a=cycle(1, 2, 3.5)).schema.by_name["a"].nullable


def test_range_levels_and_nullable_come_from_all_rows_also_those_without_a_target(
    understand: Callable[..., Dataset],
) -> None:
    dataset = understand(
        y=[*plain()["y"][:-1], ""],
        a=[*cycle("p", "q", rows=199), "rare"],
        b=[*cycle(1, 2, rows=199), 9],
        c=[*cycle(4, 5, rows=199), ""],
    )
    assert dataset.rows_used == ROWS - 1
    assert dataset.schema.by_name["a"].seen.levels == ["p", "q", "rare"]
    assert dataset.schema.by_name["b"].seen.max == 9
    assert dataset.schema.by_name["c"].nullable
    assert told(dataset, "1 rows without a target are left out")


# Left out


def test_identifier_like_constant_and_empty_columns_are_left_out_with_a_reason(
    understand: Callable[..., Dataset],
) -> None:
    dataset = understand(
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
    assert reason(dataset, "serial").startswith("nearly different in every row")
    assert [feature.name for feature in dataset.schema.features] == ["x"]
    assert told(dataset, "left out: ")


def test_distinct_decimals_and_unordered_integers_are_no_identifiers(understand: Callable[..., Dataset]) -> None:
    dataset = understand(paid=[row * 37 % 1009 for row in range(ROWS)])
    assert set(dataset.schema.by_name) == {"x", "paid"}


def test_a_level_and_blanks_are_not_constant(understand: Callable[..., Dataset]) -> None:
    assert understand(a=cycle("yes", "")).schema.by_name["a"].kind == "category"


def test_a_column_without_a_name_is_left_out(understand: Callable[..., Dataset]) -> None:
    assert reason(understand(**{"": cycle(3, 4)}), "") == "without a name"


# What a person says


def test_flags_overrule_inference(understand: Callable[..., Dataset]) -> None:
    dataset = understand(
        zip=cycle(1, 2.5, "3.0"), when=cycle("20240101", "20240205"), a=cycle("1", "x"), b=cycle(1, 2),
        categorical=("zip",), date=("when",), number=("a",), drop=("b",),
    )  # fmt: skip
    kinds = {feature.name: feature.kind for feature in dataset.schema.features}
    assert kinds == {"x": "number", "zip": "category", "when": "date", "a": "number"}
    assert dataset.schema.by_name["zip"].seen.levels == [1, 2.5, 3]
    assert isinstance(dataset.columns["zip"][2], int)
    assert reason(dataset, "b") == "dropped by --drop"
    assert told(dataset, "'a': 100 cells are not a number")


def test_a_flag_keeps_an_identifier(understand: Callable[..., Dataset]) -> None:
    assert understand(id=range(ROWS), number=("id",)).schema.by_name["id"].kind == "number"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": ("colr",)}, "--drop: the table has no column 'colr', did you mean 'colour'"),
        ({"number": ("colour",)}, "no cell is a number"),
        ({"date": ("colour",)}, "no cell is a date"),
        ({"categorical": ("y",)}, "is the target"),
        ({"drop": ("x",), "number": ("x",)}, "named by --drop and by --number"),
        ({"name": "My Model"}, "try 'my_model'"),
        ({"target": "Y1"}, "no column 'Y1' to predict"),
        ({"target": None}, "say --target"),
        ({"drop": ("x", "colour")}, "no usable feature"),
        ({"target": "colour", "task": "regression"}, "does not hold numbers"),
        ({"schema": "nowhere.json"}, "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused(
    understand: Callable[..., Dataset], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        understand(colour=cycle("red", "blue"), **options)


# The target


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
def test_the_task_is_inferred(
    understand: Callable[..., Dataset], cells: list[Any], task: str, classes: list[Any] | None
) -> None:
    dataset = understand(y=cells)
    assert (dataset.schema.task, dataset.schema.classes) == (task, classes)
    assert [type(label) for label in dataset.schema.classes or ()] == [type(label) for label in classes or ()]


def test_the_notice_names_the_flag_that_overrules(understand: Callable[..., Dataset]) -> None:
    assert told(understand(y=cycle(1, 2)), "--task regression")
    assert told(understand(y=cycle(1, 2.5)), "--task classification")


def test_only_numbers_that_floats_hold_exactly_are_called_integers(understand: Callable[..., Dataset]) -> None:
    assert told(understand(y=range(ROWS)), "200 different integers")
    assert told(understand(y=[2**60 + row * 4096 for row in range(ROWS)]), "200 different numbers")
    assert told(understand(y=cycle(1.5e300, 2.5e300)), "2 different numbers")


def test_text_that_would_be_numbers_with_another_decimal_mark_may_be_classes(
    understand: Callable[..., Dataset],
) -> None:
    assert understand(y=cycle("1,5", "2,5"), task="classification").schema.classes == ["1,5", "2,5"]


def test_the_flag_overrules_the_task(understand: Callable[..., Dataset]) -> None:
    assert understand(y=cycle(1, 2), task="regression").target.tolist()[:2] == [1.0, 2.0]
    assert understand(y=cycle(1, 2.5), task="classification").schema.classes == [1, 2.5]


def test_the_target_is_the_position_of_the_class(understand: Callable[..., Dataset]) -> None:
    dataset = understand(y=cycle(30, 10, "", 20))
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
        (
            cycle("1,5", "2", "3,25"),
            "decimal ',', e.g. '1,5': say --decimal ','; where they are names, --task classification",
        ),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(
    understand: Callable[..., Dataset], cells: list[Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        understand(y=cells, x=cycle(1, 2, rows=len(cells)))


def test_an_unknown_target_is_told_with_the_nearest_name(understand: Callable[..., Dataset]) -> None:
    with pytest.raises(UsageError, match="did you mean 'price'"):
        understand(price=cycle(1, 2), target="prise")


# Leaks


def test_a_feature_that_tells_the_target_is_reported(understand: Callable[..., Dataset]) -> None:
    y = plain()["y"]
    assert told(understand(a=y * 3 + 1), "column 'a' alone predicts")
    assert told(understand(y=cycle("p", "q", "r"), a=cycle("u", "v", "w")), "column 'a' alone predicts")
    assert not told(understand(y=cycle("p", "q", "r"), a=cycle("u", "v")), "alone predicts")
    assert not told(understand(a=y + plain()["x"] / 2), "alone predicts")


@pytest.mark.parametrize("name", sorted(data.BUNDLED))
def test_the_bundled_tables_have_no_leak(name: str) -> None:
    assert not told(columns.load(data.bundled_options(name)), "alone predicts")


# Parquet


def test_parquet_types_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame(
        plain()
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
    dataset = columns.load(DataOptions(data=str(path), target="y"))
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


def test_rows_with_levels_of_any_type_are_compared_for_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"a": pd.Categorical(cycle(1, 2.5, None)), "b": cycle(True, False), "y": cycle("u", "v")})
    frame.to_parquet(path)
    options = DataOptions(data=str(path), target="y", categorical=("b",))
    dataset = columns.load(options)
    assert dataset.schema.by_name["b"].seen.levels == [False, True]
    assert any("40 of 40 test rows" in notice for notice in data.split(dataset, options).notices)


def test_a_parquet_target_keeps_its_type(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame(plain() | {"y": cycle("1", "2")}).to_parquet(path)
    assert columns.load(DataOptions(data=str(path), target="y")).schema.classes == ["1", "2"]


# Many levels


def test_up_to_ten_thousand_levels_are_listed_and_more_are_hashed(understand: Callable[..., Dataset]) -> None:
    listed = understand(a=[f"v{row // 2}" for row in range(20_000)]).schema.by_name["a"].seen
    assert (len(listed.levels or ()), listed.hashed) == (10_000, None)
    hashed = understand(a=[f"v{row // 2}" for row in range(20_002)]).schema.by_name["a"].seen
    assert (hashed.levels, hashed.hashed, hashed.count, hashed.type) == (None, HASH_BUCKETS, 10_001, "text")


def test_a_million_levels_cost_by_the_row_what_few_cost(tmp_path: Path) -> None:
    """Nothing looks for one level among all others: that would take twenty times as long for each row."""

    def load(rows: int) -> tuple[Dataset, float]:
        levels = np.random.default_rng(0).integers(0, rows * 10 // 3, rows)
        levels[: rows // 4] = levels[rows // 4 : rows // 2]
        path = tmp_path / f"{rows}.parquet"
        pd.DataFrame({"who": np.char.add("u", levels.astype(str)), "y": np.arange(rows) % 97 / 7}).to_parquet(path)
        start = time.process_time()
        return columns.load(DataOptions(data=str(path), target="y")), time.process_time() - start

    many = 1_500_000  # some 970,000 distinct
    dataset, seconds = load(many)
    feature = dataset.schema.by_name["who"]
    assert feature.seen.hashed == HASH_BUCKETS
    assert (feature.seen.count or 0) > 900_000
    assert len(dataset.schema.to_json()) < 1000
    assert seconds < 5 * 20 * load(many // 20)[1]


# An edited schema


def edited(dataset: Dataset, path: Path, **changes: dict[str, Any]) -> str:
    features = [
        Feature.model_validate(feature.model_dump() | changes.get(feature.name, {}))
        for feature in dataset.schema.features
    ]
    path.write_text(dataset.schema.model_copy(update={"features": features}).to_json())
    return str(path)


def test_an_edited_schema_overrules_inference(understand: Callable[..., Dataset], tmp_path: Path) -> None:
    cells = {"a": cycle(1, 2, 3), "b": cycle("p", "q"), "c": cycle(1, 2)}
    path = edited(
        understand(**cells, drop=("c",)),
        tmp_path / "features.json",
        x={"minimum": -1.0, "maximum": 5.0, "nullable": True},
        a={"kind": "category", "seen": {}, "example": None},
        b={"unseen": "error"},
    )
    dataset = understand(**cells, schema=path, target=None)
    by_name = dataset.schema.by_name
    assert (by_name["x"].minimum, by_name["x"].maximum, by_name["x"].nullable) == (-1, 5, True)
    assert by_name["a"].seen.levels == [1, 2, 3]
    assert by_name["b"].unseen == "error"
    assert reason(dataset, "c") == "dropped by --drop"
    assert told(dataset, "outside the declared limits")


@pytest.mark.parametrize(
    ("before", "kind"), [("a", "category"), ("b", "number"), ("c", "category"), ("d", "category"), ("d", "number")]
)
def test_the_kind_of_a_column_may_be_edited_whatever_was_learned_of_it(
    understand: Callable[..., Dataset], tmp_path: Path, before: str, kind: str
) -> None:
    cells = {
        "a": cycle(1, 2, 3), "b": cycle("1", "2", "p"), "c": cycle("2020-01-02", "2021-03-04"),
        "d": cycle("true", "false", "1"),
    }  # fmt: skip
    whole = json.loads(understand(**cells).schema.to_json())
    feature = next(feature for feature in whole["features"] if feature["name"] == before)
    feature["kind"] = kind
    feature.pop("unseen", None)
    path = tmp_path / "features.json"
    path.write_text(json.dumps(whole))
    assert understand(**cells, schema=str(path)).schema.by_name[before].kind == kind


def test_a_schema_that_is_inferred_and_handed_back_changes_nothing(
    understand: Callable[..., Dataset], tmp_path: Path
) -> None:
    cells = {
        "a": cycle("02134", "10001", ""), "b": cycle("01/02/2020", "30/12/2021"), "c": cycle("true", "FALSE"),
        "id": range(ROWS), "y": cycle("u", "v"),
    }  # fmt: skip
    first = understand(**cells)
    again = understand(**cells, schema=edited(first, tmp_path / "features.json"))
    assert again.schema == first.schema
    assert all(again.columns[name].tolist() == first.columns[name].tolist() for name in ("b", "c", "x"))


def test_a_schema_whose_columns_the_table_lacks_is_refused(understand: Callable[..., Dataset], tmp_path: Path) -> None:
    path = edited(understand(colour=cycle("p", "q")), tmp_path / "features.json")
    with pytest.raises(UsageError, match="no column 'colour', did you mean 'color'"):
        understand(color=cycle("p", "q"), schema=path)


def test_a_broken_schema_is_refused_in_one_line(understand: Callable[..., Dataset], tmp_path: Path) -> None:
    path = tmp_path / "features.json"
    path.write_text('{"format": 1}')
    with pytest.raises(UsageError, match=r"features\.json: ") as caught:
        understand(schema=str(path))
    assert "\n" not in str(caught.value)


def test_flags_beside_a_schema_are_refused(understand: Callable[..., Dataset], tmp_path: Path) -> None:
    path = edited(understand(), tmp_path / "features.json")
    with pytest.raises(UsageError, match="leave out --drop"):
        understand(schema=path, drop=("x",))


def test_classes_of_the_schema_must_be_those_of_the_table(understand: Callable[..., Dataset], tmp_path: Path) -> None:
    path = edited(understand(y=cycle("u", "v")), tmp_path / "features.json")
    with pytest.raises(UsageError, match="'w' differs"):
        understand(y=cycle("u", "v", "w"), schema=path)


# Real tables, made messy


def messy(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Blanks punched in, columns renamed with spaces and punctuation, an id and an empty column put in."""
    made = frame.astype(object).copy()
    target = made.pop("target")
    made[pd.DataFrame(rng.random(made.shape) < 0.03, index=made.index, columns=made.columns)] = None
    made.columns = pd.Index([f"{name} (no. {index}), raw" for index, name in enumerate(made.columns)])
    made.insert(0, "row id", range(1000, 1000 + len(made)))
    made["nothing"] = None
    return made.assign(**{"what it is": target})


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("load_iris", "multiclass"),
        ("load_wine", "multiclass"),
        ("load_breast_cancer", "binary"),
        ("load_diabetes", "regression"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_a_messy_real_table_comes_out_right(tmp_path: Path, name: str, task: str, kind: str) -> None:
    bunch = getattr(datasets, name)(as_frame=True)
    frame = messy(bunch.frame, np.random.default_rng(1))
    path = tmp_path / f"{name}.{kind}"
    if kind == "parquet":
        frame = frame.convert_dtypes()
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    options = DataOptions(data=str(path), target="what it is")
    dataset = columns.load(options)
    assert dataset.schema.name == name
    assert dataset.schema.task == task
    assert [feature.kind for feature in dataset.schema.features] == ["number"] * len(bunch.feature_names)
    assert all(feature.nullable for feature in dataset.schema.features)
    assert {column.name for column in dataset.schema.ignored} == {"row id", "nothing"}
    assert FeatureSchema.from_json(dataset.schema.to_json()) == dataset.schema
    assert len(data.split(dataset, options).test) == pytest.approx(0.2 * len(frame), abs=1)
    example = {feature.name: feature.example for feature in dataset.schema.features}
    assert not validate_rows(dataset.schema, [example | {"row id": 7, "nothing": None, "what it is": 1}]).errors
