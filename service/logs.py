"""Configures logging: JSON lines, or text on a terminal. Applies to the loggers `tabserve` and `models` only."""

import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import orjson

from models.json_text import replace_surrogates
from service.settings import Settings

ACCESS_LOG = "tabserve.access"  # the logger of the requests that TABSERVE_ACCESS_LOG selects, with one line per request
MAX_LINES = 10  # maximum number of lines of one kind about requests in a second
MAX_KINDS = 1000
STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

log = logging.getLogger("tabserve")


class RateLimit(logging.Filter):
    """Drops lines about requests beyond MAX_LINES of one kind in a second: an overloaded server must not fill a disk.

    A kind is a logger, a level and a message. Call `report` once a second.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._second = 0
        self._counts: dict[tuple[str, int, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == ACCESS_LOG or not hasattr(record, "request_id"):
            return True
        second = int(self._clock())
        if second != self._second:
            self.report()
            self._second = second
        kind = (record.name, record.levelno, str(record.msg))
        if kind not in self._counts and len(self._counts) == MAX_KINDS:
            return False
        count = self._counts[kind] = self._counts.get(kind, 0) + 1  # threads call this without a lock
        return count <= MAX_LINES

    def report(self) -> None:
        """Write how many lines were dropped since the last call."""
        counts, self._counts = self._counts, {}
        for (name, level, message), count in counts.items():
            if count > MAX_LINES:
                extra = {"kind": message, "lines": count - MAX_LINES}
                logging.getLogger(name).log(level, "log lines suppressed", extra=extra)


def configure_logging(settings: Settings) -> RateLimit:
    """Send log records to standard error in the format of the settings. Returns their rate limit."""
    handler = logging.StreamHandler(sys.stderr)
    limit = RateLimit()
    handler.addFilter(limit)
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    for name in ("tabserve", "models"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(settings.log_level.upper())
        logger.propagate = False
    return limit


def extras(record: logging.LogRecord) -> dict[str, object]:
    """The fields that were passed as `extra=`."""
    return {key: value for key, value in vars(record).items() if key not in STANDARD_ATTRIBUTES}


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **extras(record),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:
            return orjson.dumps(replace_surrogates(line), default=str).decode()


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        more = "".join(f" {key}={value}" for key, value in extras(record).items())
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{clock} {record.levelname.lower():7} {record.getMessage()}{more}{trace}"
