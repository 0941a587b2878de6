"""Cells with one possible reading are read with a notice, and ambiguous cells require a flag."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.cell_format import CellFormat
from models.formats.csv_decoder import CsvDecoder
from models.schema import FeatureSchema
from tests.training.posting import assert_frame, decoded, posted
from tests.training.tables import ROWS, Infer, cycle, has_notice
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.dataset import Dataset
from training.errors import UsageError

CASES = Path(__file__).parent / "cases"
Write = Callable[..., str]


def load(file: str, target: str, **options: Any) -> Dataset:
    return load_dataset(DataOptions(data=str(CASES / file), target=target, **options))


def assert_posted(dataset: Dataset, path: Path, delimiter: str = ",") -> None:
    """Assert that the file, posted in each format, is read as in training."""
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    frame = pd.read_csv(path, sep=delimiter, dtype=str, keep_default_na=False)
    assert_frame(decoded(CsvDecoder, schema, path.read_bytes()), dataset, "CSV")
    for form, rows in posted(schema, {str(name): frame[name].tolist() for name in frame}).items():
        assert_frame(rows, dataset, form)


@pytest.mark.parametrize(
    ("file", "target", "delimiter"),
    [
        ("F02_country_NA.csv", "y", ","),
        ("F03_german_thousands.csv", "umsatz", ";"),
        ("F04_us_thousands_target.csv", "income", ","),
        ("F04_us_thousands_feature.csv", "income", ","),
        ("F05_int_target_dash.csv", "y", ","),
        ("F05_int_target_hash_na.csv", "y", ","),
        ("F06_percent.csv", "y", ","),
        ("F07_date_dash.csv", "y", ","),
        ("F08_date_utc_word.csv", "y", ","),
        ("F12_own_decimal_comma.csv", "y", ";"),
    ],
)
def test_a_table_can_be_posted_to_its_model_in_every_format(file: str, target: str, delimiter: str) -> None:
    assert_posted(load(file, target), CASES / file, delimiter)


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [("cp1252", "cp1252"), ("utf-16", "utf-16"), ("utf-16-be", "utf-16-be"), ("utf-8-sig", None), ("utf-8", None)],
)
def test_a_file_in_any_encoding_can_be_posted_to_its_model(write: Write, encoding: str, stored: str | None) -> None:
    content = "größe,y\n" + "".join(f"{word},{number}\n" for number, word in enumerate(cycle("fünf", "zwölf", "elf")))
    path = write(content.encode(encoding))
    dataset = load_dataset(DataOptions(data=path, target="y"))
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    assert schema.encoding == stored
    for body in (Path(path).read_bytes(), content.encode()):
        assert_frame(decoded(CsvDecoder, schema, body), dataset, "CSV")


def test_a_file_with_an_invalid_byte_can_be_posted_to_its_model() -> None:
    path = CASES / "f11_one_bad_byte.csv"
    dataset = load_dataset(DataOptions(data=str(path), target="y"))
    assert dataset.schema.encoding == "utf-8"
    assert_frame(decoded(CsvDecoder, dataset.schema, path.read_bytes()), dataset, "CSV")


def test_infinite_cells_are_missing_when_the_file_is_posted(write: Write) -> None:
    path = write("a,b,y\n" + "".join(f"{a},{b},{a}\n" for a, b in enumerate(cycle(1, "Inf", "-inf", 2.5))))
    dataset = load_dataset(DataOptions(data=path, target="y"))
    assert dataset.schema.by_name["b"].cells.missing == ["Inf", "-inf"]
    assert_posted(dataset, Path(path))


def test_a_schema_keeps_the_encoding_of_a_flag(write: Write, tmp_path: Path) -> None:
    content = "miasto,y\n" + "".join(f"{city},{number}\n" for number, city in enumerate(cycle("Łódź", "Kraków")))
    path, schema = write(content.encode("cp1250")), tmp_path / "features.json"
    schema.write_text(load_dataset(DataOptions(data=path, target="y", encoding="cp1250")).schema.to_json())
    for body in (content.encode("cp1250"), content.encode()):
        again = load_dataset(DataOptions(data=write(body), target="y", schema=str(schema)))
        assert again.schema.features[0].seen.levels == ["Kraków", "Łódź"]


def test_dots_among_whole_numbers_below_a_thousand_separate_thousands() -> None:
    dataset = load("F03_german_thousands.csv", "umsatz")
    frame = pd.read_csv(CASES / "F03_german_thousands.csv", sep=";", dtype=str)
    assert has_notice(dataset, "columns 'umsatz', 'einwohner': '.' separates thousands, e.g. '87.643' is 87643")
    for name, read in (("einwohner", dataset.columns["einwohner"]), ("umsatz", dataset.target)):
        assert read.tolist() == [float(cell.replace(".", "")) for cell in frame[name]]


def test_commas_in_groups_of_three_separate_thousands() -> None:
    dataset = load("F04_us_thousands_target.csv", "income")
    assert dataset.target[:2].tolist() == [87643, 8955]
    assert has_notice(dataset, "e.g. '87,643' is 87643 (--thousands, --decimal)")
    assert load("F04_us_thousands_feature.csv", "income").columns["people"][:3].tolist() == [555, 2268, 1065]


@pytest.mark.parametrize("file", ["F05_int_target_dash.csv", "F05_int_target_hash_na.csv"])
def test_missing_word_does_not_turn_a_numeric_target_into_classes(file: str) -> None:
    dataset = load(file, "y")
    assert dataset.schema.task == "regression"
    assert dataset.rows_used == 380
    if file == "F05_int_target_dash.csv":
        assert has_notice(dataset, "column 'y': 20 cells ('-') count as missing (--na)")


def test_numbers_stored_as_text_can_be_a_regression_target() -> None:
    dataset = load("F05_text_numbers.parquet", "y", task="regression")
    assert dataset.target[:2].tolist() == [-3.45, 1.02]


def test_percent_is_the_number_before_the_sign() -> None:
    dataset, plain = load("F06_percent.csv", "y"), load("F06_ok.csv", "y")
    assert dataset.columns["rate"].tolist() == plain.columns["rate"].tolist()
    assert dataset.schema.by_name["rate"].cells == CellFormat(units=["%"])
    assert has_notice(dataset, "'rate': numbers are read without their unit '%', e.g. '14.7%' is 14.7")


def test_missing_word_does_not_turn_dates_into_a_category() -> None:
    dataset = load("F07_date_dash.csv", "y")
    feature = dataset.schema.by_name["d"]
    assert (feature.kind, feature.date_format, feature.cells.missing) == ("date", "iso", ["-"])
    assert int(np.isnan(dataset.columns["d"]).sum()) == 15


def test_a_frequent_na_is_reported_with_the_flag_that_keeps_it() -> None:
    for file in ("F02_country_NA.csv", "F02_country_NA.parquet"):
        dataset = load(file, "y")
        assert has_notice(dataset, "68 cells (23%) are 'NA' and count as missing; if it is a level")
        assert load(file, "y", na=()).schema.by_name["country"].seen.levels == ["DE", "NA", "US", "ZA"]
    kept = load("F02_country_NA.csv", "y", na=())
    assert not has_notice(kept, "count as missing")


@pytest.mark.parametrize(("file", "word"), [("F02_country_NA.parquet", "NA"), ("F02_country_empty.parquet", "")])
def test_missing_words_of_training_are_missing_in_every_format(file: str, word: str) -> None:
    dataset = load(file, "y")
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    frame = pd.read_parquet(CASES / file)
    cells = {"country": frame["country"].tolist(), "x": frame["x"].map(str).tolist()}
    assert word in cells["country"]
    for form, rows in posted(schema, cells).items():
        assert_frame(rows, dataset, form)


def test_epoch_numbers_are_dates_if_a_flag_declares_them() -> None:
    assert any(
        "milliseconds since 1970? --date d" in column.reason for column in load("F16_epoch_ms.csv", "y").decisions
    )
    dataset = load("F16_epoch_ms.csv", "y", date=("d",))
    feature = dataset.schema.by_name["d"]
    assert (feature.kind, feature.date_format) == ("date", "epoch_ms")
    assert dataset.columns["d"][0] == 1721606400
    assert feature.to_number(1674122400000) == feature.to_number("1674122400000") == 1674122400
    assert feature.to_number("16741224x0000") is None
    assert_posted(dataset, CASES / "F16_epoch_ms.csv")


AMBIGUOUS_CELLS = [f"{row % 90 + 10}.{row * 37 % 900 + 100}" for row in range(ROWS)]


def semicolons(**columns: Sequence[Any]) -> str:
    lines = [";".join(map(str, line)) for line in zip(*columns.values(), strict=True)]
    return "\n".join([";".join(columns), *lines, ""])


def test_ambiguous_cells_require_a_flag_and_each_flag_decides(write: Write) -> None:
    path = write(semicolons(a=AMBIGUOUS_CELLS, y=range(ROWS)))
    with pytest.raises(UsageError, match=r"'10\.100' may be 10100 or 10\.1: use --thousands \. or --decimal \."):
        load_dataset(DataOptions(data=path, target="y"))
    grouped = load_dataset(DataOptions(data=path, target="y", thousands="."))
    assert grouped.columns["a"][0] == 10100
    assert load_dataset(DataOptions(data=path, target="y", decimal=".")).columns["a"][0] == 10.1


@pytest.mark.parametrize("flags", [{"thousands": "."}, {"decimal": "."}])
def test_schema_keeps_the_reading_that_a_flag_chose(write: Write, tmp_path: Path, flags: dict[str, Any]) -> None:
    path = write(semicolons(a=AMBIGUOUS_CELLS, y=range(ROWS)))
    first = load_dataset(DataOptions(data=path, target="y", **flags))
    schema = tmp_path / "features.json"
    schema.write_text(first.schema.to_json())
    again = load_dataset(DataOptions(data=path, schema=str(schema)))
    assert again.columns["a"].tolist() == first.columns["a"].tolist()


def test_schema_of_the_first_format_requires_no_flag(write: Write, tmp_path: Path) -> None:
    path = write(semicolons(a=AMBIGUOUS_CELLS, y=range(ROWS)))
    first = load_dataset(DataOptions(data=path, target="y", decimal="."))
    schema = tmp_path / "features.json"
    document = json.loads(first.schema.to_json())
    assert document["format"] == 1
    schema.write_text(json.dumps(document))
    assert load_dataset(DataOptions(data=path, schema=str(schema))).columns["a"][0] == 10.1


def test_another_column_decides_the_meaning_of_a_point(write: Write) -> None:
    commas = write(semicolons(a=AMBIGUOUS_CELLS, b=cycle("1,5", "22,75"), y=range(ROWS)))
    assert load_dataset(DataOptions(data=commas, target="y")).columns["a"][0] == 10100
    points = write(semicolons(a=AMBIGUOUS_CELLS, b=cycle("1.5", "22.75"), y=range(ROWS)))
    assert load_dataset(DataOptions(data=points, target="y")).columns["a"][0] == 10.1


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1,234,567", "2,000,000", "999"], [1234567, 2000000, 999]),
        (["1.234.567", "2.000.000", "999"], [1234567, 2000000, 999]),
        (["1,234.5", "12.25", "7"], [1234.5, 12.25, 7]),
        (["1.234,5", "12,25", "7"], [1234.5, 12.25, 7]),
        (["1 234", "12\u00a0345", "7"], [1234, 12345, 7]),
        (["1'234.5", "12\u2019345", "7"], [1234.5, 12345, 7]),
        (["12,34,567", "1,00,000", "99"], [1234567, 100000, 99]),
        (["0,123", "51,555", "7"], [0.123, 51.555, 7]),
        (["€5.00", "€ 1,250.50", "-€3"], [5, 1250.5, -3]),
        (["5 kg", "7.5 kg", "12kg"], [5, 7.5, 12]),
        (["57k", "1.2M", "800"], [57000, 1.2e6, 800]),
        (["5.00 EUR", "7.25 EUR", "1,000.00 EUR"], [5, 7.25, 1000]),
        (["1 day", "2 days", "30 days"], [1, 2, 30]),
        (["(5.00)", "7.25", "(1,000.00)"], [-5, 7.25, -1000]),
        (["5.00-", "7.25", "1.5-"], [-5, 7.25, -1.5]),
        (["\u22125", "\u22127.5", "3"], [-5, -7.5, 3]),
        (["5 %", "7,5 %", "-1 %"], [5, 7.5, -1]),
        (["$(5)", "$7", "$8.5"], None),
        (["5 kg", "700 g", "1 kg"], None),
        (["A12", "A15", "A7"], None),
        (["34B", "34C", "36B"], None),
        (["5-", "4", "3-"], None),
        (["02134 MA", "01001 MA", "02139 MA"], None),
        (["10.0.0.1", "10.0.0.2", "10.1.0.1"], None),
        (["1-5", "6-10", "11-20"], None),
    ],
)
def test_numbers_are_read_in_every_unambiguous_notation(
    infer: Infer, cells: list[str], numbers: list[float] | None
) -> None:
    dataset = infer(a=cycle(*cells))
    if numbers is None:
        assert dataset.schema.by_name["a"].kind == "category"
        return
    assert dataset.columns["a"][:3].tolist() == numbers
    assert has_notice(dataset, "column 'a': ")
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    for form, rows in posted(schema, {"x": ["0"] * 3, "a": cells}).items():
        assert rows.frame.numbers[:, 1].tolist() == numbers, form


@pytest.mark.parametrize(
    ("cells", "example"),
    [
        (["5 %", "0.07", "9"], "'5 %' and '0.07'"),
        (["12", "7,5%", "3"], "'7,5%' and '12'"),
        (["80 %", "75", *["60"] * 98], "'80 %' and '75'"),
    ],
)
def test_numbers_with_and_without_a_percent_sign_require_a_flag(infer: Infer, cells: list[str], example: str) -> None:
    with pytest.raises(
        UsageError, match=f"column 'a' has {example}, which may also be a percentage: use --number a if it"
    ):
        infer(a=cycle(*cells))
    numbers = infer(a=cycle(*cells), number=("a",))
    assert numbers.schema.by_name["a"].cells.units == ["%"]
    schema = FeatureSchema.from_json(numbers.schema.to_json())
    for form, rows in posted(schema, {"x": ["0"] * len(cells), "a": cells}).items():
        assert rows.frame.numbers[:, 1].tolist() == numbers.columns["a"][: len(cells)].tolist(), form
    assert infer(a=cycle(*cells), categorical=("a",)).schema.by_name["a"].kind == "category"


def test_target_with_and_without_a_percent_sign_requires_a_flag(write: Write) -> None:
    path = write("x,y\n" + "".join(f"{row % 7},{row % 90}{' %' * (row % 2)}\n" for row in range(ROWS)))
    with pytest.raises(UsageError, match="use --task regression if it is, or --task classification"):
        load_dataset(DataOptions(data=path, target="y"))
    assert load_dataset(DataOptions(data=path, target="y", task="regression")).target[:3].tolist() == [0, 1, 2]


def test_three_decimals_in_every_cell_require_a_flag(write: Write, infer: Infer) -> None:
    def table(cells: list[str]) -> str:
        return write(semicolons(a=cells, y=range(ROWS)).replace(";", ","))

    for cells in (AMBIGUOUS_CELLS, [*AMBIGUOUS_CELLS[:-1], "7"]):
        with pytest.raises(UsageError, match="use --thousands"):
            load_dataset(DataOptions(data=table(cells), target="y"))
    for other in ("0.125", "10.5"):
        mixed = [*AMBIGUOUS_CELLS[:-5], *[other] * 5]
        assert load_dataset(DataOptions(data=table(mixed), target="y")).columns["a"][0] == 10.1
    assert infer(a=[*AMBIGUOUS_CELLS[:-1], "7"]).columns["a"][0] == 10.1  # x and y have points before decimals


@pytest.mark.parametrize("words", [("-",), ("#N/A", "n/a"), ("None", "--", "#DIV/0!")])
def test_missing_words_are_levels_only_in_a_category(infer: Infer, words: Any) -> None:
    dataset = infer(
        a=cycle("1", "2", *words, "3"),
        b=cycle("2020-01-01", "2021-05-01", *words),
        c=cycle("true", "false", *words),
        d=cycle("red", "blue", "-"),
    )
    kinds = {feature.name: feature.kind for feature in dataset.schema.features}
    assert kinds == {"x": "number", "a": "number", "b": "date", "c": "boolean", "d": "category"}
    assert dataset.schema.by_name["d"].seen.levels == ["-", "blue", "red"]


def test_invalid_cell_of_training_is_missing_in_requests(infer: Infer) -> None:
    dataset = infer(a=[*range(2, ROWS + 1), "abc"])
    feature = dataset.schema.by_name["a"]
    assert feature.cells.missing == ["abc"]
    assert dataset.schema.readers["a"].read_value("abc") is None
    assert dataset.schema.readers["a"].read_value("abd") == "abd"


def test_levels_ignore_blanks_and_unicode_normal_forms(infer: Infer) -> None:
    dataset = infer(a=cycle("Ko\u0308ln", "K\u00f6ln", " Bonn"))
    feature = dataset.schema.by_name["a"]
    assert feature.seen.levels == ["Bonn", "K\u00f6ln"]
    codes = dataset.schema.frames.codes[0]
    assert [codes[text] for text in ("Ko\u0308ln", "K\u00f6ln", "Bonn", "Bonn ")] == [1, 1, 0, 0]


def test_conflicting_mark_flags_are_refused(infer: Infer) -> None:
    with pytest.raises(UsageError, match="--decimal and --thousands are both ','"):
        infer(a=cycle("1", "2"), decimal=",", thousands=",")
