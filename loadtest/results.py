"""What a run came to: figures, judged by its goal, and the JSON they are kept in."""

import itertools
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from loadtest.answer_check import FATAL
from loadtest.request_records import RequestRecords, Seconds

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
BLOCKS = 20  # of a run, resampled to tell how sure a figure is
FINENESS = 50  # classes of latency for each factor of e: two percent wide
LEAST_MS = 0.01
LATE_S = 0.010  # a request sent later than this after it was due counts as missed
MOST_MISSED = 0.01
MOST_CPU = 0.90


class ResultError(Exception):
    """A file is no result of ours; the message is one line."""


@dataclass
class TimeSlice:
    """A stretch of a run. latencies: how many answers fell into each class of latency."""

    seconds: float
    answered: int
    faults: int
    latencies: dict[int, int]


@dataclass
class SecondSummary:
    """A second of a run; latencies in ms."""

    moment: float
    due: int
    answered: int
    faults: int
    p50: float | None
    p99: float | None


@dataclass
class GeneratorHealth:
    """How the generator itself did. `limit` says why it was the bottleneck, or is None."""

    cpu: float
    missed: float
    lag_p99_ms: float
    limit: str | None


@dataclass
class Probe:
    """One rate that `saturate` tried."""

    repeat: int
    rate: float
    passed: bool
    reasons: list[str]
    p99: float | None
    throughput: float
    limited: bool


@dataclass
class Saturation:
    """The highest rate that met the goal in each repeat; `limited`: the generator, not the server, set the end."""

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
    load: float  # requests a second, or users
    seconds: float
    mix: dict[str, Any]
    models: list[dict[str, Any]]
    slo: str
    requests: int
    rows: int
    throughput: float  # good answers a second
    errors: dict[str, int]
    latency: dict[str, float]  # ms, from when a request was due
    closed_loop: dict[str, float]  # ms, as users would have told who wait for their answers
    by_name: dict[str, dict[str, float]]
    generator: GeneratorHealth
    timeline: list[SecondSummary]
    blocks: list[TimeSlice]
    curve: dict[str, list[tuple[float, float]]]  # (share of answers, ms) by loop
    server: list[dict[str, float]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)  # why the goal was missed
    saturation: Saturation | None = None
    format: Literal[1] = 1

    @property
    def passed(self) -> bool:
        return not self.reasons

    def to_json(self) -> bytes:
        return ADAPTER.dump_json(self, indent=1)


ADAPTER = TypeAdapter(Result)


def read(path: Path) -> Result:
    """Raises ResultError."""
    try:
        return ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ResultError(f"{path} is no result of a load test: {where}: {first['msg']}") from error


# Goals


@dataclass(frozen=True)
class Slo:
    """What a server is to keep: latencies in ms at most, faults as a share of the requests at most."""

    latencies: Mapping[str, float]
    errors: float | None

    @classmethod
    def parse(cls, text: str) -> "Slo":
        """Read `p99=50ms,errors=0.1%`. Raises ValueError with what is expected."""
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
                raise ValueError(f"{part!r} is no goal; write p99=50ms,errors=0.1% with {', '.join(QUANTILES)}")
        return cls(latencies, errors)

    def misses(self, latency: Mapping[str, float], faults: int, requests: int) -> list[str]:
        """A sentence for each goal that was missed."""
        found = [
            f"{name} is {latency[name]:.1f} ms, more than {most:g} ms"
            for name, most in self.latencies.items()
            if latency[name] > most or math.isnan(latency[name])
        ]
        if self.errors is not None and faults > self.errors * requests:
            found.append(f"{faults / requests:.2%} of the requests failed, more than {self.errors:.2%}")
        return found


def positive(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(f"{text} is not a number from 0 up")
    return number


# Figures


def quantiles(latencies: Seconds) -> dict[str, float]:
    """In ms; the smallest value that so many of the answers do not exceed."""
    if not len(latencies):
        return dict.fromkeys(QUANTILES, math.nan)
    values = np.quantile(latencies, list(QUANTILES.values()), method="inverted_cdf") * 1e3
    return {name: round(float(value), 3) for name, value in zip(QUANTILES, values, strict=True)}


def class_of(latencies: Seconds) -> Any:
    """The class of each latency."""
    return np.floor(np.log(np.maximum(latencies * 1e3, LEAST_MS) / LEAST_MS) * FINENESS).astype(np.int64)


def middle(number: int) -> float:
    """The latency in ms that a class stands for."""
    return LEAST_MS * math.exp((number + 0.5) / FINENESS)


def judge_generator(records: RequestRecords) -> GeneratorHealth:
    """Whether the generator sent when it should have."""
    lag = records.lag
    missed = float(np.mean(lag > LATE_S)) if len(lag) else 0.0
    cpu = busiest(records.cpu)
    limit = None
    if missed > MOST_MISSED:
        limit = f"{missed:.1%} of the requests left more than {LATE_S * 1e3:.0f} ms late"
        if cpu < MOST_CPU / 2:
            limit += f", though it used {cpu:.0%} of a core: something else on its machine kept it waiting"
    elif cpu > MOST_CPU:
        limit = f"the generator kept a core {cpu:.0%} busy"
    p99 = float(np.quantile(lag, 0.99)) * 1e3 if len(lag) else 0.0
    return GeneratorHealth(round(cpu, 3), round(missed, 5), round(p99, 3), limit)


def busiest(cpu: Sequence[tuple[float, float]]) -> float:
    """The largest share of a core over any three samples in a row, about three seconds, or over all there are."""
    points = [(0.0, 0.0), *cpu]
    step = min(3, len(points) - 1)
    pairs = zip(points, points[step:], strict=False) if step else ()
    return max(((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] - a[0] > 0.2), default=0.0)


def errors_of(records: RequestRecords) -> dict[str, int]:
    counts = np.bincount(records.kind, minlength=len(records.kinds)).tolist()
    return {kind: count for kind, count in list(zip(records.kinds, counts, strict=True))[1:] if count}


def stretches(records: RequestRecords, edges: Seconds) -> Iterator[slice]:
    """The requests that were due between each two moments in a row."""
    places = np.searchsorted(records.due, edges)
    return (slice(a, b) for a, b in itertools.pairwise(places.tolist()))


def timeline(records: RequestRecords) -> list[SecondSummary]:
    """Second by second: what was due then and how long it took, what was answered then."""
    count = math.ceil(max(records.seconds, float(np.max(records.done, initial=0.0))))
    seconds = np.floor(records.done).astype(np.int64)
    answered = np.bincount(seconds[records.good], minlength=count).tolist()
    faults = np.bincount(seconds[~records.good], minlength=count).tolist()
    found = []
    for second, here in enumerate(stretches(records, np.arange(count + 1.0))):
        latency = records.latency[here]
        p = quantiles(latency) if len(latency) else {"p50": None, "p99": None}
        found.append(SecondSummary(second + 0.5, len(latency), answered[second], faults[second], p["p50"], p["p99"]))
    return found


def blocks(records: RequestRecords) -> list[TimeSlice]:
    found = []
    for here in stretches(records, np.linspace(0, records.seconds, BLOCKS + 1)):
        classes, counts = np.unique(class_of(records.latency[here]), return_counts=True)
        good = int(records.good[here].sum())
        pairs = zip(classes.tolist(), counts.tolist(), strict=True)
        found.append(TimeSlice(records.seconds / BLOCKS, good, here.stop - here.start - good, dict(pairs)))
    return found


def curve(latencies: Seconds) -> list[tuple[float, float]]:
    """Latency in ms by the share of the answers that it covers: dense where the slow ones are."""
    if not len(latencies):
        return []
    nines = np.linspace(0, max(1.0, math.log10(len(latencies))), 80)
    shares = np.minimum(1 - 10.0**-nines, 1 - 1 / len(latencies) / 2)
    values = np.quantile(latencies, shares, method="inverted_cdf") * 1e3
    return [(float(share), round(float(value), 4)) for share, value in zip(shares, values, strict=True)]


def by_name(records: RequestRecords) -> dict[str, dict[str, float]]:
    """Figures for each model and kind of request."""
    names = sorted(set(records.names))
    codes = np.array([names.index(name) for name in records.names], dtype=np.int64)[records.ask]
    latency = records.latency
    found = {}
    for number, name in enumerate(names):
        here = codes == number
        if here.any():
            p = quantiles(latency[here])
            faults = float((~records.good[here]).sum())
            found[name] = {"requests": float(here.sum()), "faults": faults, "p50": p["p50"], "p99": p["p99"]}
    return found


def figures(records: RequestRecords, loop: Literal["open", "closed"]) -> dict[str, Any]:
    """The fields of a Result that follow from what a generator saw."""
    lasted = max(records.seconds, float(np.max(records.done, initial=0.0)))
    closed = records.closed_loop() if loop == "open" else records.done - records.sent
    curves = {"open": curve(records.latency), "closed": curve(closed)}
    return {
        "seconds": round(records.seconds, 3),
        "requests": len(records.due),
        "rows": int(records.rows[records.good].sum()),
        "throughput": round(float(records.good.sum()) / lasted, 2),
        "errors": errors_of(records),
        "latency": quantiles(records.latency),
        "closed_loop": quantiles(closed),
        "by_name": by_name(records),
        "generator": judge_generator(records),
        "timeline": timeline(records),
        "blocks": blocks(records),
        "curve": curves if loop == "open" else {"closed": curves["closed"]},
    }


def judge(result: Result, slo: Slo) -> list[str]:
    """Why a run is no success: wrong answers, a goal missed, or a figure that is not the server's."""
    found = [f"{count} of {kind}" for kind, count in result.errors.items() if kind in FATAL]
    if not result.requests:
        found.append("nothing was asked")
    else:
        found += slo.misses(result.latency, sum(result.errors.values()), result.requests)
    if result.generator.limit:
        found.append(
            f"the generator was the bottleneck, so these are no figures of the server: {result.generator.limit}"
        )
    return found


def machine() -> dict[str, str]:
    """Where a run was made, as far as it says something about its figures."""
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "load average at the start": load,
    }
