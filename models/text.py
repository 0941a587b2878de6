"""Texts for messages: nearest names, numbers with their nouns, truncation, and rendering of values."""

import difflib
from collections.abc import Iterable
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to this name; None if none is similar."""
    folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name[:100].casefold(), folded, n=1)
    return folded[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The text `, did you mean 'x'?` with the nearest known name; empty if none is similar."""
    near = nearest(name, known)
    return f", did you mean {near!r}?" if near else ""


def counted(number: float, one: str, many: str = "", *, spec: str = "") -> str:
    """A number and its noun: `counted(1, "row")` is `1 row`, and `counted(1234, "row", spec=",")` is `1,234 rows`.

    The noun may be followed by its verb. many: the plural, by default with an s. spec: the format of the number.
    """
    return f"{number:{spec}} {one if number == 1 else many or one + 's'}"


def truncate(text: str, limit: int = 60) -> str:
    """Truncate a text to a length that is safe in a response."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return cut.encode("utf-8", "replace").decode()  # a lone surrogate cannot be sent


def render(value: object, *, bare: bool = False) -> str:
    """A JSON value as text for messages: texts in quotes, numbers as written, and only the type of arrays and
    objects."""
    if isinstance(value, str):
        return truncate(value) if bare else repr(truncate(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else "a very large integer"
    if isinstance(value, float):
        return repr(value)
    return "an array" if isinstance(value, list) else "an object"


def class_key(label: str | bool | float) -> str:
    """The key of a class in `probabilities`: its JSON text."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)


def layer_title(layer: Any) -> str:
    """The name and class of a Keras layer or model, for messages."""
    return f"layer {layer.name!r} ({type(layer).__name__})"
