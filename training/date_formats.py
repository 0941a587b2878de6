"""Detects the date format of a column and parses its values."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from models.date_parsing import (
    EPOCH_NUMBER,
    EPOCH_UNITS,
    FIRST_EPOCH_SECOND,
    ISO_DATE,
    LAST_EPOCH_MILLISECOND,
    LAST_EPOCH_SECOND,
    parse_date,
    parse_plain_date,
)
from models.date_words import with_english_words
from training.cell_values import MAX_INVALID_FRACTION, Vector
from training.cells import FactorizedColumn
from training.errors import UsageError

SAMPLE_VALUES = 300
DAY_FORMATS = (  # if two fit equally well, the first one is used
    *("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d %b %Y"),
    *("%b-%d-%Y", "%B-%d-%Y", "%d-%B-%Y", "%d-%m-%y", "%m-%d-%y", "%d %b %y"),
    *("%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y"),
    *("%Y-%m", "%Y/%m", "%b %Y", "%B %Y", "%b-%Y", "%B-%Y", "%m/%Y", "%m.%Y", "%Y-%m-%d", "%Y%m%d", "%d%b%Y", "%d%b%y"),
    *(
        "%d. %B %Y",
        "%d. %b %Y",
        "%d/%b/%Y",
        "%Y-%b-%d",
        "%Y %b %d",
        "%d %b, %Y",
        "%a, %d %b %Y",
        "%A, %B %d, %Y",
        "%A, %d %B %Y",
        "%a %b %d %Y",
    ),
)
CLOCKS = (
    "%H:%M",
    "%H:%M:%S",
    "%H:%M:%S.%f",
    "%I:%M %p",
    "%I:%M:%S %p",
    "%I:%M%p",
    "%I:%M:%S%p",
    "%I%p",
    "%I %p",
    "%I:%M:%S.%f %p",
)

ZONES = ("", " UTC", " GMT", " Z", "Z", " %z", "%z")
DATE_AND_TIME = tuple(
    f"{day}{between}{clock}{zone}"
    for day, between, clock, zone in product(DAY_FORMATS, (" ", "T", ", ", ":"), CLOCKS, ZONES)
)
CTIME = tuple(
    f"{weekday}%b %d %H:%M:%S{zone} %Y" for weekday, zone in product(("%a ", ""), ("", " UTC", " GMT", " %z"))
)
FORMATS = (*DAY_FORMATS, *DATE_AND_TIME, *CTIME)
NUMBERS, NAMES, ZONE = re.compile(r"%[dmYyHMSfI]"), re.compile(r"%[bBaAp]"), re.compile("%z")
DIGITS, LETTERS = re.compile(r"\d+"), re.compile(r"[^\W\d_]+")
OFFSET = re.compile(r"(:\d\d(?:\.\d+)?(?: ?[AaPp][Mm])? ?)[+-]\d\d:?\d\d(?!\d)")


def _shape(text: str) -> str:
    """A text with its runs of digits, its words and its offset from UTC as one character each."""
    return LETTERS.sub("A", DIGITS.sub("9", OFFSET.sub(r"\1~", text)))


def _shape_of_format(date_format: str) -> str:
    shape = ZONE.sub("\0", NAMES.sub("\1", NUMBERS.sub("9", date_format)))
    return re.sub("A+", "A", LETTERS.sub("A", re.sub("9+", "9", shape)).replace("\1", "A")).replace("\0", "~")


def _formats_by_shape() -> dict[str, list[str]]:
    formats: dict[str, list[str]] = {}
    for date_format in FORMATS:
        formats.setdefault(_shape_of_format(date_format), []).append(date_format)
    return formats


FORMATS_OF_SHAPE = _formats_by_shape()


class DateFormat(NamedTuple):
    """A date format, and a rival format that fits the same values equally well but yields other days."""

    text: str
    rival: str | None = None


def detect_date_format(column: FactorizedColumn, wanted: str | None = None) -> DateFormat | None:
    """The format that fits at least 99 % of the cells, or None; other cells decide what 03/04/2024 means.

    wanted: the user's format, which is tried first.
    """
    if column.cell_type not in ("untyped", "text", "timestamp") or not column.values:
        return None
    return _detect(column, wanted) or _detect_other_words(column)


def _detect_other_words(column: FactorizedColumn) -> DateFormat | None:
    """The format of dates with words, digits or signs of a language other than English."""
    if column.cell_type == "timestamp":
        return None
    sample = column.values[:: max(1, len(column.values) // SAMPLE_VALUES)]
    english = [*map(with_english_words, sample)]
    if english == sample or not _may_be_dates(english):
        return None
    return _detect(replace(column, values=[*map(with_english_words, column.values)]), None)


def _may_be_dates(sample: list[str]) -> bool:
    return _iso_date_fraction(sample) >= 1 - 2 * MAX_INVALID_FRACTION or bool(_possible_formats(sample))


def _detect(column: FactorizedColumn, wanted: str | None) -> DateFormat | None:
    sample = column.values[:: max(1, len(column.values) // SAMPLE_VALUES)]
    if wanted and column.cell_type != "timestamp" and _date_fraction(column, wanted) >= 1 - MAX_INVALID_FRACTION:
        return DateFormat(wanted)
    if column.cell_type == "timestamp" or _iso_date_fraction(sample) >= 1 - MAX_INVALID_FRACTION:
        return DateFormat("iso") if _date_fraction(column, "iso") >= 1 - MAX_INVALID_FRACTION else None
    shares = {form: _date_fraction(column, form) for form in _possible_formats(sample)}
    fitting = [form for form in shares if shares[form] >= 1 - MAX_INVALID_FRACTION]
    if not fitting:
        return None
    best, *others = sorted(fitting, key=lambda form: -shares[form])
    return DateFormat(best, others[0] if others and shares[best] == shares[others[0]] else None)


def closest_date_format(column: FactorizedColumn) -> str:
    """The format that fits most of a sample of the values, for a column that the user declared as dates."""
    texts = [str(value) for value in column.values[:SAMPLE_VALUES]]
    if (unit := epoch_unit(texts)) is not None:
        return unit
    shapes = dict.fromkeys(_shape(form) for text in texts for form in (text, with_english_words(text)))
    formats = dict.fromkeys(form for shape in shapes for form in FORMATS_OF_SHAPE.get(shape, ()))
    fits = {form: int((~np.isnan(parse_dates(texts, form))).sum()) for form in formats}
    fits["iso"] = int((~np.isnan(parse_dates(texts, "iso"))).sum())
    return max(fits, key=lambda form: (fits[form], form == "iso"))


def epoch_unit(texts: Sequence[str]) -> str | None:
    """`epoch_s` or `epoch_ms` if nearly all texts are numbers in its range; 20231123 is an ISO 8601 date."""
    numbers = np.array([abs(float(text)) if EPOCH_NUMBER.fullmatch(text) else np.nan for text in texts])
    for unit, low, high in (
        ("epoch_s", FIRST_EPOCH_SECOND, LAST_EPOCH_SECOND),
        ("epoch_ms", LAST_EPOCH_SECOND, LAST_EPOCH_MILLISECOND),
    ):
        if len(numbers) and np.mean((numbers >= low) & (numbers <= high)) >= 1 - 2 * MAX_INVALID_FRACTION:
            return unit
    return None


def check_date_format(date_format: str | None) -> None:
    """Raises UsageError for a `--date-format` that cannot parse a date."""
    if date_format is None or date_format == "iso" or date_format in EPOCH_UNITS:
        return
    try:
        if "%" not in date_format:
            raise ValueError("it has no %")
        datetime.strptime(datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(date_format), date_format)
    except ValueError as error:
        raise UsageError(
            f"--date-format {date_format!r} is not iso, epoch_s, epoch_ms or a format such as %d.%m.%Y: {error}"
        ) from None


def parse_dates(values: Sequence[str], date_format: str) -> Vector:
    """(distinct,): seconds since 1970, UTC if a value has no zone, NaN if it is not a date of this format."""
    if date_format == "iso" or date_format in EPOCH_UNITS:
        parsed = (_parse_date(value, date_format) for value in values)
        return np.fromiter(parsed, dtype=np.float64, count=len(values))
    texts = pd.Series(list(values), dtype="str")
    moments = pd.to_datetime(texts, format=date_format, errors="coerce", utc=True)
    seconds = moments.dt.as_unit("us").astype("int64").to_numpy() / 1e6
    seconds = np.where(moments.isna().to_numpy(), np.nan, seconds)
    for index in np.flatnonzero(np.isnan(seconds)).tolist():  # years that pandas cannot represent, and ISO 8601
        seconds[index] = _parse_date(values[index], date_format)
    return seconds


def _parse_date(text: str, date_format: str) -> float:
    try:
        return parse_date(text, date_format)
    except (ValueError, OverflowError):
        return math.nan


def _possible_formats(sample: list[str]) -> list[str]:
    """The formats that fit nearly all values of a sample; the shape of the first values rules out most of them."""
    shapes = {_shape(value) for value in sample[:3]}
    return [
        form
        for shape in shapes
        for form in FORMATS_OF_SHAPE.get(shape, ())
        if np.mean([_matches(value, form) for value in sample]) >= 1 - 2 * MAX_INVALID_FRACTION
    ]


def _matches(text: str, date_format: str) -> bool:
    try:
        return bool(math.isfinite(parse_plain_date(text, date_format)))
    except (ValueError, OverflowError):
        return False


def _iso_date_fraction(sample: list[str]) -> float:
    return float(np.mean([_is_iso_date(value) for value in sample]))


def _is_iso_date(text: str) -> bool:
    if ISO_DATE.fullmatch(text):
        return True
    return len(DIGITS.findall(text)) > 1 and bool(ISO_DATE.fullmatch(with_english_words(text)))


def _date_fraction(column: FactorizedColumn, date_format: str) -> float:
    return column.fraction(~np.isnan(parse_dates(column.values, date_format)))
