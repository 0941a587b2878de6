"""The result of a run: figures, goals, and the JSON file."""

import itertools
import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from loadtest.request_records import RequestRecords, Seconds
from loadtest.response_check import FATAL

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
BLOCKS = 20  # equal parts of a run, resampled for confidence intervals
BINS_PER_E = 50  # latency bins per factor of e, so each is 2 % wide
MIN_MS = 0.01
LATE_S = 0.010  # a request processed later than this after it was due is late
MAX_LATE_SHARE = 0.01
MAX_CPU = 0.90


class ResultError(Exception):
    """A file is not the result of a load test; the message is one line."""


@dataclass
class TimeSlice:
    """A part of a run. latencies: number of responses per latency bin."""

    seconds: float
    answered: int
    errors: int
    latencies: dict[int, int]


@dataclass
class SecondSummary:
    """One second of a run; latencies in ms."""

    time: float
    due: int
    answered: int
    errors: int
    p50: float | None
    p99: float | None


@dataclass
class GeneratorHealth:
    """Load of the generator. late_share: the fraction of requests that were sent late. limit: why the generator was the
    bottleneck, or None."""

    cpu: float
    late_share: float
    lag_p99_ms: float
    limit: str | None


@dataclass
class Probe:
    """A rate that `saturate` tried."""

    repeat: int
    rate: float
    passed: bool
    reasons: list[str]
    p99: float | None
    throughput: float
    limited: bool


@dataclass
class Saturation:
    """The highest rate that met the goal in each repeat. limited: the generator was the bottleneck, not the server."""

    rates: list[float]
    probes: list[Probe]
    limited: bool

    @property
    def rate(self) -> float:
        return float(np.median(self.rates))


@dataclass
class Result:
    command: str
    started: str
    url: str
    machine: dict[str, str]
    scenario: str
    loop: Literal["open", "closed"]
    load: float  # requests per second, or users
    seconds: float
    mix: dict[str, Any]
    models: list[dict[str, Any]]
    slo: str
    requests: int
    rows: int
    throughput: float  # correct responses per second
    errors: dict[str, int]
    latency: dict[str, float]  # ms since a request was due
    closed_loop: dict[str, float]  # ms, as a closed loop would have measured
    by_name: dict[str, dict[str, float]]
    generator: GeneratorHealth
    timeline: list[SecondSummary]
    blocks: list[TimeSlice]
    curve: dict[str, list[tuple[float, float]]]  # (fraction of responses, ms) by loop
    server: list[dict[str, float]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)  # why the run failed
    saturation: Saturation | None = None
    format: Literal[2] = 2

    @property
    def passed(self) -> bool:
        return not self.reasons

    def to_json(self) -> bytes:
        return ADAPTER.dump_json(self, indent=1)


ADAPTER = TypeAdapter(Result)


def read(path: Path) -> Result:
    """Read a result file. Raises ResultError."""
    try:
        return ADAPTER.validate_python(upgraded(json.loads(path.read_bytes())))
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ResultError(f"{path} is not the result of a load test: {reason(error)}") from error


def reason(error: ValueError) -> str:
    """The first problem in a file."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def upgraded(content: Any) -> Any:
    """The content of a result file, in the current format."""
    return from_format_1(content) if isinstance(content, dict) and content.get("format") == 1 else content


def from_format_1(content: dict[str, Any]) -> dict[str, Any]:
    """Translate the names of format 1 to those of the current format."""
    names = {"faults": "errors", "moment": "time", "missed": "late_share"}

    def renamed(values: dict[str, Any]) -> dict[str, Any]:
        return {names.get(name, name): value for name, value in values.items()}

    new: dict[str, Any] = {**content, "format": 2}
    for field_name in ("timeline", "blocks", "server"):
        new[field_name] = [renamed(entry) for entry in content.get(field_name, [])]
    new["generator"] = renamed(content.get("generator", {}))
    new["by_name"] = {name: renamed(entry) for name, entry in content.get("by_name", {}).items()}
    return new


# Goals


@dataclass(frozen=True)
class Slo:
    """The goal of a run: maximum latencies in ms, and the maximum error rate."""

    latencies: Mapping[str, float]
    errors: float | None

    @classmethod
    def parse(cls, text: str) -> "Slo":
        """Read `p99=50ms,errors=0.1%`. Raises ValueError with the expected form."""
        latencies: dict[str, float] = {}
        errors = None
        for part in filter(None, text.split(",")):
            name, _, value = part.strip().partition("=")
            if name == "errors" and value.endswith("%"):
                errors = positive(value[:-1]) / 100
            elif name in QUANTILES and value.endswith("ms"):
                latencies[name] = positive(value[:-2])
            elif name in QUANTILES and value.endswith("s"):
                latencies[name] = positive(value[:-1]) * 1e3
            else:
                raise ValueError(
                    f"invalid goal {part!r}; expected for example p99=50ms,errors=0.1% with {', '.join(QUANTILES)}"
                )
        return cls(latencies, errors)

    def failures(self, latency: Mapping[str, float], errors: int, requests: int) -> list[str]:
        """A sentence for each missed goal."""
        found = [
            f"{name} is {latency[name]:.1f} ms, more than {limit:g} ms"
            for name, limit in self.latencies.items()
            if latency[name] > limit or math.isnan(latency[name])
        ]
        if self.errors is not None and errors > self.errors * requests:
            found.append(f"{errors / requests:.2%} of the requests failed, more than {self.errors:.2%}")
        return found


def positive(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(f"{text} is not a number of at least 0")
    return number


# Figures


def quantiles(latencies: Seconds) -> dict[str, float]:
    """For each quantile, the smallest latency in ms that this fraction of the responses does not exceed."""
    if not len(latencies):
        return dict.fromkeys(QUANTILES, math.nan)
    values = np.quantile(latencies, list(QUANTILES.values()), method="inverted_cdf") * 1e3
    return {name: round(float(value), 3) for name, value in zip(QUANTILES, values, strict=True)}


def bin_of(latencies: Seconds) -> Any:
    """The index of the histogram bin of each latency."""
    return np.floor(np.log(np.maximum(latencies * 1e3, MIN_MS) / MIN_MS) * BINS_PER_E).astype(np.int64)


def middle(number: int) -> float:
    """The latency in ms at the middle of a bin."""
    return MIN_MS * math.exp((number + 0.5) / BINS_PER_E)


def generator_health(records: RequestRecords) -> GeneratorHealth:
    """Whether the generator sent its requests on time."""
    lag = records.lag
    late = float(np.mean(lag > LATE_S)) if len(lag) else 0.0
    cpu = peak_cpu(records.cpu)
    limit = None
    if late > MAX_LATE_SHARE:
        limit = f"{late:.1%} of the requests were sent more than {LATE_S * 1e3:.0f} ms late"
        if cpu < MAX_CPU / 2:
            limit += f", although it used only {cpu:.0%} of a core: other programs on the machine delayed it"
    elif cpu > MAX_CPU:
        limit = f"the generator used {cpu:.0%} of a core"
    p99 = float(np.quantile(lag, 0.99)) * 1e3 if len(lag) else 0.0
    return GeneratorHealth(round(cpu, 3), round(late, 5), round(p99, 3), limit)


def peak_cpu(cpu: Sequence[tuple[float, float]]) -> float:
    """The largest fraction of a core over three consecutive samples (about three seconds) or over all samples."""
    points = [(0.0, 0.0), *cpu]
    step = min(3, len(points) - 1)
    pairs = zip(points, points[step:], strict=False) if step else ()
    return max(((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] - a[0] > 0.2), default=0.0)


def errors_of(records: RequestRecords) -> dict[str, int]:
    counts = np.bincount(records.kind, minlength=len(records.kinds)).tolist()
    return {kind: count for kind, count in list(zip(records.kinds, counts, strict=True))[1:] if count}


def parts(records: RequestRecords, edges: Seconds) -> Iterator[slice]:
    """The requests that were due between each two consecutive edges."""
    indices = np.searchsorted(records.due, edges)
    return (slice(a, b) for a, b in itertools.pairwise(indices.tolist()))


def timeline(records: RequestRecords) -> list[SecondSummary]:
    """For each second: the requests that were due in it with their latency, and the responses that arrived in it."""
    count = math.ceil(max(records.seconds, float(np.max(records.done, initial=0.0))))
    seconds = np.floor(records.done).astype(np.int64)
    answered = np.bincount(seconds[records.good], minlength=count).tolist()
    errors = np.bincount(seconds[~records.good], minlength=count).tolist()
    found = []
    for second, here in enumerate(parts(records, np.arange(count + 1.0))):
        latency = records.latency[here]
        p = quantiles(latency) if len(latency) else {"p50": None, "p99": None}
        found.append(SecondSummary(second + 0.5, len(latency), answered[second], errors[second], p["p50"], p["p99"]))
    return found


def blocks(records: RequestRecords) -> list[TimeSlice]:
    found = []
    for here in parts(records, np.linspace(0, records.seconds, BLOCKS + 1)):
        classes, counts = np.unique(bin_of(records.latency[here]), return_counts=True)
        good = int(records.good[here].sum())
        pairs = zip(classes.tolist(), counts.tolist(), strict=True)
        found.append(TimeSlice(records.seconds / BLOCKS, good, here.stop - here.start - good, dict(pairs)))
    return found


def curve(latencies: Seconds) -> list[tuple[float, float]]:
    """(fraction of the responses, latency in ms), with more points for the slow responses."""
    if not len(latencies):
        return []
    nines = np.linspace(0, max(1.0, math.log10(len(latencies))), 80)
    shares = np.minimum(1 - 10.0**-nines, 1 - 1 / len(latencies) / 2)
    values = np.quantile(latencies, shares, method="inverted_cdf") * 1e3
    return [(float(share), round(float(value), 4)) for share, value in zip(shares, values, strict=True)]


def by_name(records: RequestRecords) -> dict[str, dict[str, float]]:
    """Figures per model and kind of request."""
    names = sorted(set(records.names))
    codes = np.array([names.index(name) for name in records.names], dtype=np.int64)[records.request]
    latency = records.latency
    found = {}
    for number, name in enumerate(names):
        here = codes == number
        if here.any():
            p = quantiles(latency[here])
            errors = float((~records.good[here]).sum())
            found[name] = {"requests": float(here.sum()), "errors": errors, "p50": p["p50"], "p99": p["p99"]}
    return found


def figures(records: RequestRecords, loop: Literal["open", "closed"]) -> dict[str, Any]:
    """The fields of a Result that follow from the measurements."""
    duration = max(records.seconds, float(np.max(records.done, initial=0.0)))
    closed = records.closed_loop() if loop == "open" else records.done - records.sent
    curves = {"open": curve(records.latency), "closed": curve(closed)}
    return {
        "seconds": round(records.seconds, 3),
        "requests": len(records.due),
        "rows": int(records.rows[records.good].sum()),
        "throughput": round(float(records.good.sum()) / duration, 2),
        "errors": errors_of(records),
        "latency": quantiles(records.latency),
        "closed_loop": quantiles(closed),
        "by_name": by_name(records),
        "generator": generator_health(records),
        "timeline": timeline(records),
        "blocks": blocks(records),
        "curve": curves if loop == "open" else {"closed": curves["closed"]},
    }


def failures(result: Result, slo: Slo) -> list[str]:
    """Why a run failed: wrong responses, a missed goal, or the generator as the bottleneck."""
    found = [f"{kind}: {count}" for kind, count in result.errors.items() if kind in FATAL]
    if not result.requests:
        found.append("no request was sent")
    else:
        found += slo.failures(result.latency, sum(result.errors.values()), result.requests)
    if result.generator.limit:
        found.append(
            f"the load generator was the bottleneck, so these are not figures of the server: {result.generator.limit}"
        )
    return found


def machine() -> dict[str, str]:
    """A description of the machine, because the figures of a run depend on it."""
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "load average at the start": load,
    }
