"""Compares a response under load with the response that the same server gave before the load."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

TOLERANCE = 1e-5  # "Equal predictions" in docs/reference/models.md

WRONG = "wrong response"  # differs from the response before the load
MIXED_UP = "mixed-up response"  # the correct response to another request
MISSING = "missing response"  # no response before the timeout, or the connection was closed first
REFUSED = "connection refused"
FATAL = (WRONG, MIXED_UP, MISSING)  # a single error of these kinds fails a run

Body = Mapping[str, Any]


def unexpected_status(status: int) -> str:
    """The error of a response with an unexpected status: `status 503`."""
    return f"status {status}"


def equal_bodies(actual: bytes, expected: bytes, scale: float) -> bool:
    """Whether two JSON bodies are equal, where predictions may differ by the tolerance.

    scale: the value of s in the tolerance of docs/api.md, in the unit of the target; 1 for probabilities.
    """
    if actual == expected:
        return True
    try:
        a, b = read_object(actual), read_object(expected)
    except ValueError:
        return False
    actual_predictions, expected_predictions = a.pop("predictions", None), b.pop("predictions", None)
    return a == b and equal_predictions(actual_predictions, expected_predictions, scale)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises ValueError if the body is something else."""
    value = json.loads(body)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def equal_predictions(actual: Any, expected: Any, scale: float) -> bool:
    if not isinstance(actual, list) or not isinstance(expected, list):
        return bool(actual == expected)
    return len(actual) == len(expected) and all(
        equal_prediction(*pair, scale) for pair in zip(actual, expected, strict=True)
    )


def equal_prediction(actual: Any, expected: Any, scale: float) -> bool:
    """Compare the predictions of one row; null is the prediction for an invalid row."""
    if not isinstance(actual, dict) or not isinstance(expected, dict):
        return bool(actual == expected)
    if actual.keys() != expected.keys() or actual.get("warnings") != expected.get("warnings"):
        return False
    if "value" in expected:
        return close(actual["value"], expected["value"], scale)
    a, b = actual.get("probabilities"), expected.get("probabilities")
    if not isinstance(a, dict) or not isinstance(b, dict):
        return False
    if a.keys() != b.keys() or not all(close(a[label], b[label], 1.0) for label in b):
        return False
    return actual["label"] == expected["label"] or is_tie(b)


def close(a: Any, b: Any, scale: float) -> bool:
    """|a - b| ≤ 1e-5 · max(|b|, s); NaN is not close to any number."""
    numbers = all(isinstance(x, int | float) and math.isfinite(x) for x in (a, b))
    return numbers and abs(a - b) <= TOLERANCE * max(abs(b), scale)


def is_tie(probabilities: Mapping[str, float]) -> bool:
    """Whether the two best classes are so close that either label is correct."""
    *_, second, best = sorted(probabilities.values())
    return best - second <= TOLERANCE


def scale_of(description: Mapping[str, Any], responses: Sequence[bytes]) -> float:
    """The value of s in the tolerance of docs/api.md for a model, from its entry at `/models/{name}`.

    The spread of a regression's target follows from the metrics, as r² = 1 - rmse² / s². Without metrics, s is the
    spread of the model's own predictions.
    """
    if description["task"] != "regression":
        return 1.0
    network = (description.get("metrics") or {}).get("network") or {}
    rmse, r2 = network.get("rmse"), network.get("r2")
    if rmse and r2 is not None and r2 < 1:
        return float(rmse / math.sqrt(1 - r2))
    values = [prediction["value"] for body in responses for prediction in json.loads(body)["predictions"]]
    mean = sum(values) / len(values) if values else 0.0
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)) if values else 1.0
