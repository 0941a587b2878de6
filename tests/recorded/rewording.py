"""Decides whether two responses differ in the wording of their messages only."""

import re
from typing import Any

from tests.recorded.client import Response, body_bytes
from tests.recorded.compare import BODIES, LENGTHS

TEXT_KEYS = ("title", "detail", "message", "error", "error_message", "details", "description", "summary", "reason")
JSON_TEXT = re.compile(rf'("(?:{"|".join(TEXT_KEYS)})":\s*)"(?:[^"\\]|\\.)*"')


def differs_in_wording_only(expected: Response, actual: Response) -> bool:
    """Whether two responses are equal except for texts of messages and the resulting lengths of bodies."""
    return bool(without_texts(expected) == without_texts(actual))


def without_texts(response: Response) -> Any:
    """A copy of the response with empty messages."""
    kept: Response = {key: value for key, value in response.items() if key not in BODIES and key not in TEXT_KEYS}
    if "headers" in response:
        kept["headers"] = sorted([name, value] for name, value in response["headers"] if name not in LENGTHS)
        kept["body"] = JSON_TEXT.sub(r'\1""', body_bytes(response).decode("latin-1"))
    if "responses" in response:
        kept["responses"] = [without_texts(one) for one in response["responses"]]
    return kept
