"""The live metrics of a model's versions as lines of text, for `tabserve status`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.text import counted


def metric_lines(model: str, versions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each version with feedback. versions: the result of `live_report.report`."""
    for version in versions:
        if version["rows"]:
            yield f"{model}:{version['version']}{aliases_of(version)}: {'; '.join(parts_of(version))}"


def aliases_of(version: Mapping[str, Any]) -> str:
    return f" ({', '.join(version['aliases'])})" if version["aliases"] else ""


def parts_of(version: Mapping[str, Any]) -> Iterator[str]:
    metric = version["metric"]
    training = "" if metric["training"] is None else f", {metric['training']:.4g} at training"
    rows = counted(version["rows"], "row")
    yield f"{metric['name']} {with_interval(metric, 'value')} on {rows}{training}: {version['status']}"
    if (coverage := version.get("coverage")) is not None:
        yield f"coverage {with_interval(coverage, 'value')} of {coverage['level']:g}: {coverage['status']}"
    if (difference := version.get("against_champion")) is not None:
        numbers = with_interval(difference, "error", sign="+")
        yield f"error {numbers} against version {difference['version']}: {difference['status']}"


def with_interval(numbers: Mapping[str, Any], name: str, sign: str = "") -> str:
    return f"{numbers[name]:{sign}.4g} ({numbers['low']:{sign}.4g} to {numbers['high']:{sign}.4g})"
