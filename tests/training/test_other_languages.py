"""Numbers, dates and words for missing values in other languages and scripts are read, also in posted bodies."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from models.formats.csv_decoder import CsvDecoder
from models.schema import FeatureSchema
from tests.training.posting import assert_frame, decoded, posted
from tests.training.tables import ROWS, Infer, has_notice
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.dataset import Dataset

NUMBERS = np.round(np.random.default_rng(0).uniform(-5000, 5000, ROWS), 1).tolist()
WHOLE = np.random.default_rng(1).integers(1000, 90_000, ROWS).tolist()
DAYS = [datetime(2021, 1, 1) + timedelta(days=5 * day, minutes=7 * day) for day in range(ROWS)]
SECONDS = [day.replace(tzinfo=UTC, hour=0, minute=0).timestamp() for day in DAYS]
FULL_WIDTH = str.maketrans("0123456789.-", "０１２３４５６７８９．－")  # noqa: RUF001
ARABIC = str.maketrans("0123456789.,", "٠١٢٣٤٥٦٧٨٩٫٬")  # noqa: RUF001
FRENCH = "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.".split()  # noqa: SIM905
GERMAN = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()  # noqa: SIM905
RUSSIAN = "января февраля марта апреля мая июня июля августа сентября октября ноября декабря".split()  # noqa: SIM905
Write = Callable[..., str]


def load(write: Write, cells: list[str]) -> Dataset:
    """The data set of these cells; asserts that every format of a body is read as in training."""
    target = [str(row % 17 / 4) for row in range(ROWS)]  # shows that the decimal mark is a point
    path = write("x\ty\n" + "".join(f"{cell}\t{number}\n" for cell, number in zip(cells, target, strict=True)))
    dataset = load_dataset(DataOptions(data=path, target="y", task="regression", delimiter="tab"))
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    assert_frame(decoded(CsvDecoder, schema, Path(path).read_bytes()), dataset, "CSV")
    for form, rows in posted(schema, {"x": cells, "y": target}).items():
        assert_frame(rows, dataset, form)
    return dataset


@pytest.mark.parametrize(
    ("numbers", "cells"),
    [
        (NUMBERS, [str(number).translate(FULL_WIDTH) for number in NUMBERS]),
        (NUMBERS, [f"{number:,}".translate(ARABIC) for number in NUMBERS]),
        (NUMBERS, [f"{str(number).translate(ARABIC)}٪" for number in NUMBERS]),
        (WHOLE, [str(number).translate(str.maketrans("0123456789", "०१२३४५६७८९")) for number in WHOLE]),
        (NUMBERS, [str(number).replace("-", "\u2013") for number in NUMBERS]),
        (NUMBERS, [f"\u200e{number}\u200b" for number in NUMBERS]),
        (NUMBERS, [f"{number:,}".replace(",", "\u2007") for number in NUMBERS]),
        (NUMBERS, [f"{number:+}" for number in NUMBERS]),
        (WHOLE, [f"{number:,}円" for number in WHOLE]),
        (WHOLE, [f"{number}м" for number in WHOLE]),
        (NUMBERS, [f"{number}％" for number in NUMBERS]),  # noqa: RUF001
        (NUMBERS, [f"{number}℃" for number in NUMBERS]),
        ([1e6 * number for number in NUMBERS], [f"${number}m" for number in NUMBERS]),
        (
            [number * (1e6 if row % 2 else 1e9) for row, number in enumerate(NUMBERS)],
            [f"{number} {'Mio.' if row % 2 else 'Mrd.'} €" for row, number in enumerate(NUMBERS)],
        ),
        (
            [number * (1e3 if row % 2 else 1e6) for row, number in enumerate(NUMBERS)],
            [f"{number} {'тыс.' if row % 2 else 'млн'}".replace(".", ",", 1) for row, number in enumerate(NUMBERS)],
        ),
    ],
)
def test_numbers_of_other_languages_are_read(write: Write, numbers: list[float], cells: list[str]) -> None:
    dataset = load(write, cells)
    np.testing.assert_allclose(dataset.columns["x"], numbers, rtol=1e-12)


@pytest.mark.parametrize("word", ["н/д", "нет данных", "不明", "s/d", "keine Angabe", "n.d.", "…", ":"])
def test_missing_words_of_other_languages_are_read(write: Write, word: str) -> None:
    dataset = load(write, [word if row % 9 == 0 else str(number) for row, number in enumerate(NUMBERS)])
    assert int(np.isnan(dataset.columns["x"]).sum()) == len(range(0, ROWS, 9))
    assert has_notice(dataset, f"({word!r}) count as missing")


@pytest.mark.parametrize(
    "text_of",
    [
        lambda day: f"{day.day} {FRENCH[day.month - 1]} {day.year}",
        lambda day: f"{day.day}. {GERMAN[day.month - 1]} {day.year}",
        lambda day: f"{day.day} {RUSSIAN[day.month - 1]} {day.year} г.",  # noqa: RUF001
        lambda day: f"{day.year}年{day.month}月{day.day}日",
        lambda day: f"{day.year}. {day.month}. {day.day}.",
        lambda day: f"{day:%d/%m/%Y}".translate(ARABIC),
        lambda day: f"\u200e{day:%m/%d/%Y}",
    ],
)
def test_dates_of_other_languages_are_read(write: Write, text_of: Callable[[datetime], str]) -> None:
    dataset = load(write, [text_of(day) for day in DAYS])
    assert dataset.schema.by_name["x"].kind == "date"
    assert dataset.columns["x"].tolist() == SECONDS


@pytest.mark.parametrize(
    ("cells", "hint"),
    [
        ([f"{row // 60}:{row % 60:02}:07" for row in range(ROWS)], "dates or times in an unknown format"),
        ([f"{row}-{row + 5}" for row in range(ROWS)], "digits and signs that are not read as numbers, e.g. '0-5'"),
        ([f"~{row}" for row in range(ROWS)], "numbers with other text, e.g. '~0'"),
        ([f"{day:%Y%m%d}" for day in DAYS], "dates like 20210101? --date a"),
    ],
)
def test_unsupported_notation_gets_a_hint(infer: Infer, cells: list[str], hint: str) -> None:
    (decision,) = (decision for decision in infer(a=cells).decisions if decision.column == "a")
    assert hint in decision.reason
