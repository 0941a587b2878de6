"""The options of a prediction, and the path and query that request them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict
from urllib.parse import quote

from tabserve_client.errors import InvalidInput

Levels = float | Sequence[float]


class PredictOptions(TypedDict, total=False):
    """The options of `predict`, all of which may be omitted.

    version: a version that is loaded, such as 4. alias: such as "challenger". Without both the server chooses.
    interval: levels of intervals, for a regression. label_set: levels of label sets, for a classification.
    explain: contributions of the columns; "fast" compares with one typical row.
    on_invalid: "fail" raises RowsNotValid if a row is invalid; "skip" predicts the others.
    deadline: seconds for the whole call, instead of that of the client; None for no limit.
    """

    version: int | str | None
    alias: str | None
    interval: Levels | None
    label_set: Levels | None
    explain: bool | Literal["fast"]
    on_invalid: Literal["fail", "skip"]
    deadline: float | None


@dataclass(frozen=True)
class OutputOptions:
    """The parts of a prediction in addition to the value or label."""

    intervals: tuple[float, ...] = ()
    sets: tuple[float, ...] = ()
    explain: str = ""

    def query(self) -> dict[str, str]:
        named = {"interval": joined(self.intervals), "set": joined(self.sets), "explain": self.explain}
        return {name: value for name, value in named.items() if value}


def output_options(options: PredictOptions) -> OutputOptions:
    """Raises InvalidInput."""
    explain = options.get("explain", False)
    if explain not in (True, False, "fast"):
        raise InvalidInput(f"explain must be True, False or 'fast', not {explain!r}")
    return OutputOptions(
        levels("interval", options.get("interval")),
        levels("label_set", options.get("label_set")),
        {True: "true", False: "", "fast": "fast"}[explain],
    )


def levels(name: str, value: Levels | None) -> tuple[float, ...]:
    """Raises InvalidInput."""
    if value is None:
        return ()
    if isinstance(value, bool | str):
        raise InvalidInput(f"{name} must be a level such as 0.9, or a list of levels, not {value!r}")
    try:
        return tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),)
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} must be a level such as 0.9, or a list of levels, not {value!r}") from None


def joined(numbers: Sequence[float]) -> str:
    return ",".join(map(repr, numbers))


def predict_path(model: str, options: PredictOptions) -> str:
    """Raises InvalidInput."""
    version, alias = options.get("version"), options.get("alias")
    if version is not None and alias is not None:
        raise InvalidInput("a call may have a version or an alias, not both")
    path = f"/predict/{segment(model)}"
    if version is not None:
        return f"{path}/versions/{segment(str(version))}"
    return path if alias is None else f"{path}/aliases/{segment(alias)}"


def segment(name: str) -> str:
    """A name as a part of a path. Raises InvalidInput if it is empty, or would lead to a different path."""
    if not isinstance(name, str) or name in ("", ".", ".."):
        raise InvalidInput(f"{name!r} is not a name")
    return quote(name, safe="")
