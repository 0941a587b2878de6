"""Logs are JSON lines that never break."""

import json
import logging

from service.logs import JsonFormatter, TextFormatter


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
