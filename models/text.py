"""Text in messages: nearest names, truncation, and how values are rendered."""

import difflib
from collections.abc import Iterable
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like this one, if any is."""
    folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name[:100].casefold(), folded, n=1)
    return folded[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the known name nearest to this one, or nothing."""
    near = nearest(name, known)
    return f", did you mean {near!r}?" if near else ""


def truncate(text: str, limit: int = 60) -> str:
    """Text cut to a length that is safe to repeat in a response."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return cut.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent


def render(value: object, *, bare: bool = False) -> str:
    """A JSON value as it reads in a message: text in quotes, numbers as written, containers by their kind."""
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
    """A class as the key of `probabilities`: its JSON text."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)


def layer_title(layer: Any) -> str:
    """A layer or a model of Keras, by its name and class."""
    return f"layer {layer.name!r} ({type(layer).__name__})"
