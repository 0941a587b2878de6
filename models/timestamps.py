"""Dates as seconds since 1970: parsed from text, written as ISO 8601, and read from NumPy's moments."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_SECOND, LAST_SECOND = -62_135_596_800.0, 253_402_300_799.999999  # of Python's years 1 to 9999
DAY_MICROSECONDS = 86_400_000_000


def parse_date(text: str, date_format: str | None = None) -> float:
    """Seconds since 1970 of a date or time, UTC where it has no zone. Raises ValueError.

    date_format: as `strptime` has it; None or `iso` for ISO 8601.
    """
    if date_format in (None, "iso"):
        moment = datetime.fromisoformat(text.strip())
    else:
        assert date_format is not None
        moment = datetime.strptime(text.strip(), date_format)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def iso(seconds: float) -> str:
    """Seconds since 1970 as an ISO 8601 date, with the time where there is one."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.date().isoformat() if seconds % 86_400 == 0 else moment.isoformat()


def epoch_seconds(moments: Any) -> Any:
    """Seconds since 1970 of datetime64, NaN for NaT."""
    microseconds = moments.astype("M8[us]")
    return np.where(np.isnat(microseconds), np.nan, microseconds.astype(np.int64) / 1e6)


def has_year(seconds: Any) -> Any:
    """Whether Python has a date for it."""
    return (seconds >= FIRST_SECOND) & (seconds <= LAST_SECOND)


def moment_text(moment: np.datetime64) -> str:
    """ISO 8601, as training writes it."""
    if not has_year(epoch_seconds(moment)):
        return str(moment)
    microseconds = int(moment.astype("M8[us]").astype(np.int64))
    whole = EPOCH + timedelta(microseconds=microseconds)
    return (whole.date() if microseconds % DAY_MICROSECONDS == 0 else whole).isoformat()
