"""Dates: each format is detected, and read as seconds since 1970."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from tests.training.tables import ROWS, Infer, cycle, has_notice
from training.errors import UsageError


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
        ("%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S UTC"),
        ("%Y-%m-%d %H:%M:%S +0200", "iso"),
        ("%a, %d %b %Y %H:%M:%S +0200", "%a, %d %b %Y %H:%M:%S %z"),
        ("%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S GMT"),
        ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Y"),
        ("%a %b %d %H:%M:%S UTC %Y", "%a %b %d %H:%M:%S UTC %Y"),
        ("%m/%d/%Y %I:%M%p", "%m/%d/%Y %I:%M%p"),
        ("%Y%m%dT%H%M%SZ", "iso"),
        ("%d%b%Y", "%d%b%Y"),
        ("%d%b%Y:%H:%M:%S", "%d%b%Y:%H:%M:%S"),
        ("%b-%Y", "%b-%Y"),
        ("%d/%b/%Y:%H:%M:%S +0000", "%d/%b/%Y:%H:%M:%S %z"),
        ("%A, %B %d, %Y", "%A, %B %d, %Y"),
        ("%d.%m.%Y %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S.%f"),
    ],
)
def test_dates_are_recognised_in_their_format(infer: Infer, form: str, named: str) -> None:
    texts = pd.date_range("1999-01-04 13:05", periods=ROWS, freq="37h").strftime(form).tolist()
    if form == "%d%b%Y":
        texts = [text.upper() for text in texts]
    dataset = infer(a=texts)
    feature = dataset.schema.by_name["a"]
    assert (feature.kind, feature.date_format) == ("date", named)
    assert dataset.columns["a"].tolist() == [feature.parse_date(text) for text in texts]
    assert (feature.seen.min, feature.seen.max) == (texts[0], texts[-1])
    assert not has_notice(dataset, "the first is used")


def test_an_ambiguous_date_format_is_reported(infer: Infer) -> None:
    dataset = infer(a=cycle("01/02/2020", "03/04/2021", "05/05/2022"))
    assert has_notice(dataset, "fit %m/%d/%Y and %d/%m/%Y")


def test_a_few_cells_that_are_not_dates_are_missing(infer: Infer) -> None:
    dataset = infer(a=[*cycle("2020-01-01", "2021-05-01", rows=199), "2020-02-31"])
    assert dataset.schema.by_name["a"].kind == "date"
    assert np.isnan(dataset.columns["a"][-1])


def test_naive_dates_are_utc(infer: Infer) -> None:
    dataset = infer(a=cycle("2020-01-01", "2021-05-01"))
    assert dataset.columns["a"][0] == datetime(2020, 1, 1, tzinfo=UTC).timestamp()


def test_iso_dates_are_read_together_with_another_format(infer: Infer) -> None:
    dataset = infer(a=cycle("13.01.2020", "2021-05-01", "14.02.2022"))
    assert dataset.schema.by_name["a"].date_format == "%d.%m.%Y"
    assert dataset.columns["a"][1] == datetime(2021, 5, 1, tzinfo=UTC).timestamp()


def test_date_format_flag_decides_ambiguous_dates(infer: Infer) -> None:
    cells = cycle("01/02/2020", "03/04/2021", "05/05/2022")
    dataset = infer(a=cells, date_format="%d/%m/%Y")
    assert dataset.columns["a"][0] == datetime(2020, 2, 1, tzinfo=UTC).timestamp()
    assert not has_notice(dataset, "the first is used")
    assert infer(a=cycle("Q1 03 2020", "Q2 05 2021"), date_format="Q1 %m %Y", date=("a",)).schema.by_name["a"].nullable


def test_date_flag_reads_numbers_as_dates(infer: Infer) -> None:
    dataset = infer(a=cycle(20200101, 20210501), date=("a",))
    assert dataset.columns["a"][0] == datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    days = infer(a=cycle(0, 86400), date=("a",), date_format="epoch_s")
    assert days.columns["a"][:2].tolist() == [0, 86400]


@pytest.mark.parametrize("text", ["DD.MM.YYYY", "%Q", "epoch", "%d.%m.%", "%Y-%m-%d %Q"])
def test_a_format_that_matches_no_date_is_refused(infer: Infer, text: str) -> None:
    with pytest.raises(UsageError, match=r"--date-format .* is not iso, epoch_s, epoch_ms or a format"):
        infer(a=cycle("2020-01-01", "2021-01-01"), date_format=text)


@pytest.mark.parametrize("cells", [("1674122400", "1674208800"), ("1674122400000", "1674208800000")])
def test_numbers_of_the_size_of_dates_get_a_notice(infer: Infer, cells: tuple[str, str]) -> None:
    (decision,) = (decision for decision in infer(a=cycle(*cells)).decisions if decision.column == "a")
    assert decision.type == "number"
    assert "since 1970? --date a" in decision.reason
    assert infer(a=cycle(*cells), date=("a",)).columns["a"][:2].tolist() == [1674122400, 1674208800]
