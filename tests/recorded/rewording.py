"""Decides whether two answers differ in the wording of their messages only."""

import re
from typing import Any

from tests.recorded.client import Answer, content_of
from tests.recorded.compare import BODIES, LENGTHS

TEXT_KEYS = ("title", "detail", "message", "error", "error_message", "details", "description", "summary", "reason")
JSON_TEXT = re.compile(rf'("(?:{"|".join(TEXT_KEYS)})":\s*)"(?:[^"\\]|\\.)*"')


def reworded(expected: Answer, actual: Answer) -> bool:
    """Whether the answers are equal except for the texts of messages, and for lengths of bodies with such texts."""
    return bool(without_texts(expected) == without_texts(actual))


def without_texts(answer: Answer) -> Any:
    """An answer with its messages blanked."""
    kept: Answer = {key: value for key, value in answer.items() if key not in BODIES and key not in TEXT_KEYS}
    if "headers" in answer:
        kept["headers"] = sorted([name, value] for name, value in answer["headers"] if name not in LENGTHS)
        kept["body"] = JSON_TEXT.sub(r'\1""', content_of(answer).decode("latin-1"))
    if "responses" in answer:
        kept["responses"] = [without_texts(response) for response in answer["responses"]]
    return kept
