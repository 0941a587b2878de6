"""Decides whether two answers differ in the wording of their messages only."""

import re
from typing import Any

from tests.recorded.client import Answer, body_bytes
from tests.recorded.compare import BODIES, LENGTHS

TEXT_KEYS = ("title", "detail", "message", "error", "error_message", "details", "description", "summary", "reason")
JSON_TEXT = re.compile(rf'("(?:{"|".join(TEXT_KEYS)})":\s*)"(?:[^"\\]|\\.)*"')


def differs_in_wording_only(expected: Answer, actual: Answer) -> bool:
    """Whether two answers are equal except for texts of messages and the resulting lengths of bodies."""
    return bool(without_texts(expected) == without_texts(actual))


def without_texts(answer: Answer) -> Any:
    """A copy of the answer with empty messages."""
    kept: Answer = {key: value for key, value in answer.items() if key not in BODIES and key not in TEXT_KEYS}
    if "headers" in answer:
        kept["headers"] = sorted([name, value] for name, value in answer["headers"] if name not in LENGTHS)
        kept["body"] = JSON_TEXT.sub(r'\1""', body_bytes(answer).decode("latin-1"))
    if "responses" in answer:
        kept["responses"] = [without_texts(response) for response in answer["responses"]]
    return kept
