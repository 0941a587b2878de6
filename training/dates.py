"""Date formats: detecting the one of a column, and parsing its values."""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from models.timestamps import parse_date
from training.cell_values import MAX_INVALID_SHARE, Vector
from training.cells import FactorizedColumn

SAMPLE_VALUES = 300
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?")
DAY_FORMATS = (  # of two that fit equally well, the first is used
    *("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d %b %Y"),
    *("%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y"),
    *("%Y-%m", "%Y/%m", "%b %Y", "%B %Y", "%Y-%m-%d"),
)
TIME_FORMATS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = tuple(day + clock for day, clock in product(DAY_FORMATS, TIME_FORMATS))


class DateFormat(NamedTuple):
    """A date format, and another one that fits the same values equally well but means other days."""

    text: str
    rival: str | None = None


def detect_date_format(column: FactorizedColumn) -> DateFormat | None:
    """The format that fits at least 99 % of the cells, or None. The other cells decide what 03/04/2024 means."""
    if column.cell_type not in ("untyped", "text", "timestamp") or not column.values:
        return None
    sample = column.values[:: max(1, len(column.values) // SAMPLE_VALUES)]
    if column.cell_type == "timestamp" or _share_of_iso_dates(sample) >= 1 - MAX_INVALID_SHARE:
        return DateFormat("iso") if _share_of_dates(column, "iso") >= 1 - MAX_INVALID_SHARE else None
    shares = {form: _share_of_dates(column, form) for form in _possible_formats(sample)}
    fitting = [form for form in shares if shares[form] >= 1 - MAX_INVALID_SHARE]
    if not fitting:
        return None
    best, *others = sorted(fitting, key=lambda form: -shares[form])
    return DateFormat(best, others[0] if others and shares[best] == shares[others[0]] else None)


def closest_date_format(column: FactorizedColumn) -> str:
    """The format that fits most of a sample of the values, for a column that the user declares to hold dates."""
    texts = [str(value) for value in column.values[:SAMPLE_VALUES]]
    fits = {form: sum(_matches(text, form) for text in texts) for form in FORMATS}
    fits["iso"] = int((~np.isnan(parse_dates(texts, "iso"))).sum())
    return max(fits, key=lambda form: (fits[form], form == "iso"))


def parse_dates(values: Sequence[str], date_format: str) -> Vector:
    """(distinct,): seconds since 1970, UTC where a value has no zone, NaN where it is not a date of this format."""
    if date_format == "iso":
        return np.array([_parse_iso_date(value) for value in values], dtype=np.float64)
    texts = pd.Series(list(values), dtype="str")
    moments = pd.to_datetime(texts, format=date_format, errors="coerce", utc=True)
    seconds = moments.dt.as_unit("us").astype("int64").to_numpy() / 1e6
    return np.where(moments.isna().to_numpy(), np.nan, seconds)


def _parse_iso_date(text: str) -> float:
    try:
        return parse_date(text)
    except (ValueError, OverflowError):
        return math.nan


def _possible_formats(sample: list[str]) -> list[str]:
    """The formats that fit nearly all values of a sample; the first three values rule out most of them quickly."""
    possible = [form for form in FORMATS if any(_matches(value, form) for value in sample[:3])]
    return [
        form for form in possible if np.mean([_matches(value, form) for value in sample]) >= 1 - 2 * MAX_INVALID_SHARE
    ]


def _matches(text: str, date_format: str) -> bool:
    try:
        datetime.strptime(text, date_format)
    except ValueError:
        return False
    return True


def _share_of_iso_dates(sample: list[str]) -> float:
    return float(np.mean([bool(ISO_DATE.fullmatch(value)) for value in sample]))


def _share_of_dates(column: FactorizedColumn, date_format: str) -> float:
    return column.share(~np.isnan(parse_dates(column.values, date_format)))
