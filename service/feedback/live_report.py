"""The live metrics of the served versions of a model, and those at training."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from models.aliases import CHAMPION
from models.text import counted
from service.confidence_sequence import MeanInterval, Moments, interval
from service.feedback.live_metrics import MetricKey
from service.feedback.version_judge import LEVEL, VersionJudge
from service.registry import ModelEntry
from service.served_model import ServedModel

ERROR, COVERAGE, DIFFERENCE = "error", "coverage", "difference to "  # names of stored metrics
CANARY = "canary "  # the difference from the champion since a canary began, followed by the canary's identifier
MIN_ROWS = 200  # with fewer rows the status is `small_sample`
MARGIN = 0.1  # a live error is worse if it exceeds the error at training by more than this fraction


class LiveMetric(NamedTuple):
    """A metric with its interval, in its own unit. training: its value at training; None if that is unknown."""

    name: str
    rows: int
    value: float
    low: float
    high: float
    training: float | None


def live_metric(served: ServedModel, sums: Mapping[MetricKey, Moments]) -> LiveMetric | None:
    """The metric of a version; None without feedback."""
    moments = sums.get(MetricKey(served.version, ERROR))
    if moments is None:
        return None
    judge = served.compiled(VersionJudge)
    low, high = interval(moments)
    value = moments.mean
    if judge.metric == "accuracy":
        value, low, high = 1 - value, 1 - high, 1 - low
    scale = judge.scale
    training = served.model.metrics.get("network", {}).get(judge.metric)
    return LiveMetric(judge.metric, int(moments.number), value * scale, low * scale, high * scale, training)


def live_coverage(served: ServedModel, sums: Mapping[MetricKey, Moments]) -> LiveMetric | None:
    """The coverage of a version's intervals or label sets; None without feedback."""
    moments = sums.get(MetricKey(served.version, COVERAGE))
    if moments is None:
        return None
    low, high = interval(moments)
    return LiveMetric("coverage", int(moments.number), moments.mean, low, high, LEVEL)


def status_of(metric: LiveMetric) -> str:
    """`worse` if the whole interval is worse than the value at training by more than MARGIN."""
    if metric.rows < MIN_ROWS or metric.training is None:
        return "small_sample" if metric.rows < MIN_ROWS else "unknown"
    if metric.name == "mae":
        return "worse" if metric.low > metric.training * (1 + MARGIN) else "ok"
    return "worse" if 1 - metric.high > (1 - metric.training) * (1 + MARGIN) else "ok"


def coverage_status(metric: LiveMetric) -> str:
    """`low` if the interval is below the level."""
    if metric.rows < MIN_ROWS:
        return "small_sample"
    return "low" if metric.high < LEVEL else "ok"


def report(entry: ModelEntry, sums: Mapping[MetricKey, Moments]) -> list[dict[str, Any]]:
    """The served versions of a model with their live metrics."""
    return [describe_metrics(entry, served, sums) for served in entry.versions.values()]


def describe_metrics(entry: ModelEntry, served: ServedModel, sums: Mapping[MetricKey, Moments]) -> dict[str, Any]:
    version = served.version
    document: dict[str, Any] = {"version": version, "aliases": entry.aliases_of(version), "rows": 0}
    if (metric := live_metric(served, sums)) is None:
        return document
    document |= {"rows": metric.rows, "metric": metric_fields(metric), "status": status_of(metric)}
    if (coverage := live_coverage(served, sums)) is not None:
        status = coverage_status(coverage)
        document["coverage"] = {**metric_fields(coverage), "level": LEVEL, "rows": coverage.rows, "status": status}
        del document["coverage"]["name"], document["coverage"]["training"]
    champion = entry.aliases[CHAMPION]
    moments = sums.get(MetricKey(version, DIFFERENCE + champion))
    if version != champion and moments is not None:
        document["against_champion"] = difference(entry.champion, moments)
    return document


def difference(champion: ServedModel, moments: Moments) -> dict[str, Any]:
    """The mean difference between a version's errors and the champion's on the same rows. It is negative if the version
    is better."""
    scale, found = champion.compiled(VersionJudge).scale, interval(moments)
    low, high = MeanInterval(*((2 * end - 1) * scale for end in found))
    status = "better" if high < 0 else "worse" if low > 0 else "undecided"
    value = (2 * moments.mean - 1) * scale
    return {
        "version": champion.version,
        "rows": int(moments.number),
        "error": value,
        "low": low,
        "high": high,
        "status": status,
    }


def worse_than_champion(entry: ModelEntry, sums: Mapping[MetricKey, Moments], alpha: float) -> str | None:
    """The reason to roll back a canary: one of its versions has larger errors than the champion. None if that is
    uncertain.

    alpha: the probability that a version without larger errors is reported at any time.
    """
    champion = entry.champion
    challengers = [version for version in entry.split if version != champion.version]
    for version in challengers:
        moments = sums.get(MetricKey(version, CANARY + entry.canary), Moments())
        low = interval(moments, 2 * alpha / len(challengers)).low  # alpha: the error probability of one end
        if low > 0.5:
            judge = champion.compiled(VersionJudge)
            value, least = ((2 * mean - 1) * judge.scale for mean in (moments.mean, low))
            error = "rate of errors" if judge.metric == "accuracy" else judge.metric
            return (
                f"larger errors by feedback: version {version} has a {error} that is {value:.3g} higher than the "
                f"champion's (at least {least:.3g}) on {counted(int(moments.number), 'row')}"
            )
    return None


def metric_fields(metric: LiveMetric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "value": metric.value,
        "low": metric.low,
        "high": metric.high,
        "training": metric.training,
    }
