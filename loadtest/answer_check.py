"""What a server is to answer: recorded one request at a time before the load, compared with every answer under load."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

TOLERANCE = 1e-5  # "Equal means" in docs/api.md

WRONG = "wrong answer"  # another answer than the server gave when it was asked quietly
MIXED_UP = "mixed-up answer"  # the right answer to another request
MISSING = "missing answer"  # none before the deadline, or the connection ended first
REFUSED = "connection refused"
FATAL = (WRONG, MIXED_UP, MISSING)  # any one of these fails a run

Body = Mapping[str, Any]


def status_kind(status: int) -> str:
    """How an unexpected status is called: `status 503`."""
    return f"status {status}"


def alike(given: bytes, expected: bytes, scale: float) -> bool:
    """Whether two bodies of JSON say the same; predictions within the tolerance.

    scale: s of "equal means", in the unit of the target; 1 for probabilities.
    """
    if given == expected:
        return True
    try:
        a, b = read(given), read(expected)
    except ValueError:
        return False
    mine, right = a.pop("predictions", None), b.pop("predictions", None)
    return a == b and same_predictions(mine, right, scale)


def read(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises ValueError where it holds something else."""
    value = json.loads(body)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def same_predictions(given: Any, expected: Any, scale: float) -> bool:
    if not isinstance(given, list) or not isinstance(expected, list):
        return bool(given == expected)
    return len(given) == len(expected) and all(
        same_prediction(*pair, scale) for pair in zip(given, expected, strict=True)
    )


def same_prediction(given: Any, expected: Any, scale: float) -> bool:
    """One row's prediction; null is the answer to a row that is not valid."""
    if not isinstance(given, dict) or not isinstance(expected, dict):
        return bool(given == expected)
    if given.keys() != expected.keys() or given.get("warnings") != expected.get("warnings"):
        return False
    if "value" in expected:
        return close(given["value"], expected["value"], scale)
    a, b = given.get("probabilities"), expected.get("probabilities")
    if not isinstance(a, dict) or not isinstance(b, dict):
        return False
    if a.keys() != b.keys() or not all(close(a[label], b[label], 1.0) for label in b):
        return False
    return given["label"] == expected["label"] or tie(b)


def close(a: Any, b: Any, scale: float) -> bool:
    """|a - b| ≤ 1e-5 · max(|b|, s); NaN is close to nothing."""
    numbers = all(isinstance(x, int | float) and math.isfinite(x) for x in (a, b))
    return numbers and abs(a - b) <= TOLERANCE * max(abs(b), scale)


def tie(probabilities: Mapping[str, float]) -> bool:
    """Whether the two best classes are too close to tell which label is right."""
    *_, second, best = sorted(probabilities.values())
    return best - second <= TOLERANCE


def scale_of(description: Mapping[str, Any], answers: Sequence[bytes]) -> float:
    """s of "equal means" for a model, from its entry at `/models/{name}`.

    The spread of a regression's target follows from the metrics, as r² = 1 - rmse² / s². A model without metrics is
    held to the spread of its own answers.
    """
    if description["task"] != "regression":
        return 1.0
    network = (description.get("metrics") or {}).get("network") or {}
    rmse, r2 = network.get("rmse"), network.get("r2")
    if rmse and r2 is not None and r2 < 1:
        return float(rmse / math.sqrt(1 - r2))
    values = [prediction["value"] for body in answers for prediction in json.loads(body)["predictions"]]
    mean = sum(values) / len(values) if values else 0.0
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)) if values else 1.0
