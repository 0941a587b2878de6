"""Dates as seconds since 1970: parsed from text and numbers, written as ISO 8601, and read from NumPy's datetime64."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from models.date_words import with_english_words

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_SECOND, LAST_SECOND = -62_135_596_800.0, 253_402_300_799.999999  # the range of Python's years 1 to 9999
DAY_MICROSECONDS = 86_400_000_000
EPOCH_UNITS = {"epoch_s": 1.0, "epoch_ms": 1000.0}  # formats of dates that are numbers, with their units per second
FIRST_EPOCH_SECOND, LAST_EPOCH_SECOND = 1e8, 4.1e9  # 1973 to 2099; numbers of this size are seconds
LAST_EPOCH_MILLISECOND = LAST_SECOND * 1000  # numbers above LAST_EPOCH_SECOND are milliseconds
EPOCH_NUMBER = re.compile(r"[+-]?\d{1,16}(\.\d{0,9})?", re.ASCII)
SEPARATORS = "Tt "  # between a date and a time; `fromisoformat` accepts any character
ISO_DATE = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z| ?[+-]\d\d(:?\d\d)?)?)?"
    r"|\d{8}T\d{4}(\d\d([.,]\d{1,9})?)?(Z|[+-]\d{4})?",
    re.ASCII,
)


def parse_date(value: str | float, date_format: str | None = None) -> float:
    """Parse a date or time as seconds since 1970, in UTC if it has no time zone. Raises ValueError.

    value: text; or a number, see `parse_epoch`. date_format: a format of `strptime`, in addition to ISO 8601; None
    or `iso` for ISO 8601 alone; `epoch_s` or `epoch_ms` for seconds or milliseconds since 1970.
    """
    if not isinstance(value, str):
        return parse_epoch(value, date_format)
    text = value.strip()
    try:
        return parse_plain_date(text, date_format)
    except ValueError as error:
        english = with_english_words(text)
        if english == text:
            raise
        try:
            return parse_plain_date(english, date_format)
        except ValueError:
            raise error from None


def parse_plain_date(text: str, date_format: str | None) -> float:
    """Parse a date in this format, with English words and digits, as seconds since 1970. Raises ValueError."""
    if date_format is None or date_format == "iso":
        return _seconds(parse_iso(text))
    if date_format in EPOCH_UNITS:
        if EPOCH_NUMBER.fullmatch(text):
            return parse_epoch(float(text), date_format)
        return _seconds(parse_strict_iso(text))
    try:
        return _seconds(datetime.strptime(text, date_format))
    except ValueError:
        return _seconds(parse_strict_iso(text))


def parse_iso(text: str) -> datetime:
    """Parse ISO 8601, with a `T` or a blank before the time. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    length = len(text)
    if length <= 8 or (length == 10 and text[4] == "-"):  # no time
        return moment
    if text[7] in SEPARATORS or text[8] in SEPARATORS or (length > 10 and text[10] in SEPARATORS):
        return moment
    raise ValueError(f"{text!r} has no T between date and time")


def parse_strict_iso(text: str) -> datetime:
    """Parse the forms of ISO 8601 that cannot be confused with another format. Raises ValueError."""
    if not ISO_DATE.fullmatch(text):
        raise ValueError(f"{text!r} is not a date of this format")
    return datetime.fromisoformat(text)


def parse_epoch(number: float, date_format: str | None = None) -> float:
    """Convert a number of seconds or milliseconds since 1970 to seconds. Raises ValueError.

    The formats `epoch_s` and `epoch_ms` determine the unit. Without them the size of the number determines it: numbers
    that are dates from 1973 to 2099 in seconds are seconds, and larger numbers are milliseconds. Smaller numbers and
    microseconds are refused.
    """
    if date_format in EPOCH_UNITS:
        seconds = number / EPOCH_UNITS[str(date_format)]
    elif FIRST_EPOCH_SECOND <= number <= LAST_EPOCH_SECOND:
        seconds = float(number)
    elif LAST_EPOCH_SECOND < abs(number) <= LAST_EPOCH_MILLISECOND:
        seconds = number / 1000
    else:
        raise ValueError(f"{number} is not a date in seconds or milliseconds since 1970")
    if not has_year(seconds):
        raise ValueError(f"{number} is not a date in the years 1 to 9999")
    return float(seconds)


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def format_date(seconds: float, date_format: str | None) -> str:
    """A date in the format of a column."""
    if date_format in (None, "iso"):
        return iso(seconds)
    assert date_format is not None
    if date_format in EPOCH_UNITS:
        return str(round(seconds * EPOCH_UNITS[date_format]))
    return datetime.fromtimestamp(seconds, UTC).strftime(date_format)


def describe_format(date_format: str | None) -> str:
    """A description of values in this format, for messages."""
    if date_format in (None, "iso"):
        return "an ISO 8601 date or time"
    if date_format in EPOCH_UNITS:
        return f"a number of {'seconds' if date_format == 'epoch_s' else 'milliseconds'} since 1970"
    return f"a date like {date_format}"


def iso(seconds: float) -> str:
    """Seconds since 1970 as an ISO 8601 date, with the time if there is one."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.date().isoformat() if seconds % 86_400 == 0 else moment.isoformat()


def epoch_seconds(moments: Any) -> Any:
    """Convert datetime64 to seconds since 1970; NaT becomes NaN."""
    microseconds = moments.astype("M8[us]")
    return np.where(np.isnat(microseconds), np.nan, microseconds.astype(np.int64) / 1e6)


def has_year(seconds: Any) -> Any:
    """Whether Python can represent this time as a date, in the years 1 to 9999."""
    return (seconds >= FIRST_SECOND) & (seconds <= LAST_SECOND)


def moment_text(moment: np.datetime64) -> str:
    """A time as ISO 8601 text, as training writes it."""
    if not has_year(epoch_seconds(moment)):
        return str(moment)
    microseconds = int(moment.astype("M8[us]").astype(np.int64))
    whole = EPOCH + timedelta(microseconds=microseconds)
    return (whole.date() if microseconds % DAY_MICROSECONDS == 0 else whole).isoformat()
