"""The names of capture files and of their columns. The service writes these files, and training reads them.

FOLDER/housing-3-20261128T091500Z-0f3a….parquet           rows with their predictions
FOLDER/feedback/housing-20261128T091500Z-77c1….parquet    the true values of these rows, by id
"""

import re
import uuid
from datetime import UTC, datetime

ID = "tabserve_id"
TIME = "tabserve_time"
MODEL = "tabserve_model"
VERSION = "tabserve_version"
SOURCE = "tabserve_source"
PREDICTION = "tabserve_prediction"
PROBABILITY = "tabserve_probability_"
TRUTH = "tabserve_truth"
PREFIX = "tabserve_"  # prefix of the columns that tabserve adds
METADATA = b"tabserve"  # the key in a file's metadata; the value is JSON with model, version, task and target
FEEDBACK = "feedback"  # the feedback folder
FROM_REQUEST, FROM_FEEDBACK = "request", "feedback"  # the sources of rows
SUFFIX = ".parquet"
NAME = re.compile(r"(?P<model>[a-z][a-z0-9_]{0,40})(?:-(?P<version>\d+))?-(?P<time>\d{8}T\d{6}Z)-[0-9a-f]{32}\.parquet")
TIME_FORMAT = "%Y%m%dT%H%M%SZ"


def file_name(model: str, version: str | None, seconds: float) -> str:
    """A new name for a capture file. version: None for feedback. seconds: the time of its last row, since 1970."""
    moment = datetime.fromtimestamp(seconds, UTC).strftime(TIME_FORMAT)
    parts = [model, *([] if version is None else [version]), moment, uuid.uuid4().hex]
    return "-".join(parts) + SUFFIX


def captured_time(name: str) -> float | None:
    """The time in the name of a captured file, in seconds since 1970; None for any other file."""
    found = NAME.fullmatch(name)
    if found is None:
        return None
    try:
        return datetime.strptime(found["time"], TIME_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
