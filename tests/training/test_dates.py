"""Dates: each format is detected, and read as seconds since 1970."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from tests.training.tables import ROWS, Infer, cycle, has_notice


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
def test_dates_are_recognised_in_their_format(infer: Infer, form: str, named: str) -> None:
    texts = pd.date_range("1999-01-04 13:05", periods=ROWS, freq="37h").strftime(form).tolist()
    dataset = infer(a=texts)
    feature = dataset.schema.by_name["a"]
    assert (feature.kind, feature.date_format) == ("date", named)
    assert dataset.columns["a"].tolist() == [feature.parse_date(text) for text in texts]
    assert (feature.seen.min, feature.seen.max) == (texts[0], texts[-1])
    assert not has_notice(dataset, "the first is taken")


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
