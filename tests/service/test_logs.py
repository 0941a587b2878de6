"""Every log record is one line of valid JSON, and log lines about requests are limited."""

import json
import logging
from collections.abc import Iterable, Iterator

import pytest

from service.logs import ACCESS_LOG, MAX_KINDS, JsonFormatter, RateLimit, TextFormatter


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "levelname": "ERROR", **extra})
    try:
        raise KeyError("what happened")
    except KeyError as error:
        made.exc_info = (KeyError, error, error.__traceback__)
    return made


def test_a_log_line_has_its_fields_and_the_trace() -> None:
    line = json.loads(JsonFormatter().format(record("failed", model="homes:1", request_id="r")))
    assert (line["level"], line["message"], line["model"], line["request_id"]) == ("error", "failed", "homes:1", "r")
    assert "what happened" in line["trace"]
    assert "what happened" in TextFormatter().format(record("failed", model="homes:1"))


def test_text_that_is_not_unicode_is_logged() -> None:
    assert json.loads(JsonFormatter().format(record("\ud800", what={"a": object})))["message"] == "?"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def limited_messages(caplog: pytest.LogCaptureFixture, clock: Clock, records: Iterable[logging.LogRecord]) -> list[str]:
    """The messages that pass a rate limit, and the reports of the limit."""
    limit = RateLimit(clock)
    passed = [record.getMessage() for record in records if limit.filter(record)]
    limit.report()
    return passed + [f"{each.getMessage()}: {each.kind} {each.lines}" for each in caplog.records]  # type: ignore[attr-defined]


def test_log_lines_about_requests_are_limited_per_kind_and_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tabserve")
    clock = Clock()

    def records() -> Iterator[logging.LogRecord]:
        for clock.now in (1.0, 1.5, 2.0):
            for message in ("slow", "failed"):
                for _ in range(8):
                    yield logging.makeLogRecord(
                        {"name": "tabserve.x", "levelno": 20, "msg": message, "request_id": "r"}
                    )

    assert limited_messages(caplog, clock, records()) == [
        *["slow"] * 8,
        *["failed"] * 8,
        *["slow"] * 2,
        *["failed"] * 2,
        *["slow"] * 8,
        *["failed"] * 8,
        "log lines suppressed: slow 6",
        "log lines suppressed: failed 6",
    ]


def test_access_log_lines_and_server_messages_are_not_limited(caplog: pytest.LogCaptureFixture) -> None:
    for fields in ({"name": ACCESS_LOG, "request_id": "r"}, {"name": "tabserve.data_plane"}):
        records = [logging.makeLogRecord({"msg": "line", **fields}) for _ in range(100)]
        assert limited_messages(caplog, Clock(), records) == ["line"] * 100


def test_the_number_of_kinds_of_log_lines_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    records = [logging.makeLogRecord({"msg": str(number), "request_id": "r"}) for number in range(2 * MAX_KINDS)]
    assert len(limited_messages(caplog, Clock(), records)) == MAX_KINDS
