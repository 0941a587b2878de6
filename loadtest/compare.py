"""`python -m loadtest compare`: ratios of two results with confidence intervals."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from loadtest import results
from loadtest.results import Result, TimeSlice
from models import text_tables

DRAWS = 2000  # bootstrap samples
INTERVAL = (0.025, 0.975)
MARGIN = 0.05  # two runs of the same server can differ by this much
Change = Literal["better", "worse", "no difference"]
Draws = npt.NDArray[np.float64]


class MetricComparison(NamedTuple):
    """The ratio B / A of a figure, with its 95 % bootstrap interval."""

    name: str
    a: float
    b: float
    ratio: float
    low: float
    high: float
    change: Change


def run(arguments: argparse.Namespace) -> int:
    """Return 1 if any figure became worse."""
    a, b = results.read(arguments.a), results.read(arguments.b)
    for difference in differences(a, b):
        print(f"note: {difference}")
    found = compare(a, b, np.random.default_rng(0))
    print(text_tables.aligned(table(found)))
    return 1 if any(comparison.change == "worse" for comparison in found) else 0


def table(comparisons: Sequence[MetricComparison]) -> list[list[str]]:
    head = ["", "A", "B", "B / A", "95 % interval", ""]
    return [head] + [
        [c.name, f"{c.a:.4g}", f"{c.b:.4g}", f"{c.ratio:.3f}", f"{c.low:.3f} to {c.high:.3f}", c.change]
        for c in comparisons
    ]


def differences(a: Result, b: Result) -> list[str]:
    """Differences between the conditions of the two runs, which may explain a ratio."""
    pairs: dict[str, tuple[Any, Any]] = {
        "scenario": (a.scenario, b.scenario),
        "loop": (a.loop, b.loop),
        "load": (a.load, b.load),
        "mix": (a.mix, b.mix),
        "models": (a.models, b.models),
        "cores": (a.machine["cores"], b.machine["cores"]),
    }
    if a.saturation and b.saturation:  # the load depends on the rate found
        del pairs["load"]
    found = [f"{name} differs: {x} and {y}" for name, (x, y) in pairs.items() if x != y]
    for name, result in (("A", a), ("B", b)):
        if result.generator.limit:
            found.append(f"the figures of {name} are not those of the server: {result.generator.limit}")
    return found


def compare(a: Result, b: Result, rng: np.random.Generator) -> list[MetricComparison]:
    """Compare each figure of two runs."""
    found = [
        compare_figure("responses per second", lambda r: throughputs(r.blocks, rng), a, b, higher=True),
        *(
            compare_figure(f"{name}, ms", lambda r, share=share: latencies(r.blocks, share, rng), a, b, higher=False)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        ),
    ]
    if a.saturation and b.saturation and a.saturation.rate and b.saturation.rate:
        found.insert(0, compare_figure("highest rate", lambda r: rates(r, rng), a, b, higher=True))
    return found


def compare_figure(
    name: str, draw: Callable[..., tuple[float, Draws]], a: Result, b: Result, *, higher: bool
) -> MetricComparison:
    """higher: whether a higher value is better."""
    (value_a, draws_a), (value_b, draws_b) = draw(a), draw(b)
    low, high = np.quantile(draws_b / np.maximum(draws_a, 1e-12), INTERVAL)
    change: Change = "no difference"
    if low > 1 + MARGIN:
        change = "better" if higher else "worse"
    elif high < 1 - MARGIN:
        change = "worse" if higher else "better"
    return MetricComparison(name, value_a, value_b, value_b / max(value_a, 1e-12), float(low), float(high), change)


def resample(count: int, rng: np.random.Generator) -> Draws:
    """(DRAWS, count): how often each block is drawn, with replacement."""
    return rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)


def throughputs(blocks: Sequence[TimeSlice], rng: np.random.Generator) -> tuple[float, Draws]:
    answered = np.array([block.answered for block in blocks], dtype=np.float64)
    seconds = sum(block.seconds for block in blocks)
    return float(answered.sum() / seconds), resample(len(blocks), rng) @ answered / seconds


def latencies(blocks: Sequence[TimeSlice], share: float, rng: np.random.Generator) -> tuple[float, Draws]:
    """The latency in ms that this fraction of the responses does not exceed, in the run and in each resampled run."""
    bins = sorted({number for block in blocks for number in block.latencies})
    counts = np.array([[block.latencies.get(number, 0) for number in bins] for block in blocks], dtype=np.float64)
    weights = np.concatenate([np.ones((1, len(blocks))), resample(len(blocks), rng)])
    cumulative = np.cumsum(weights @ counts, axis=1)  # (1 + DRAWS, bins)
    indices = np.argmax(cumulative >= share * cumulative[:, -1:], axis=1)
    values = np.array([results.middle(number) for number in bins])[indices]
    return float(values[0]), values[1:]


def rates(result: Result, rng: np.random.Generator) -> tuple[float, Draws]:
    assert result.saturation is not None
    found = np.array(result.saturation.rates)
    return result.saturation.rate, np.median(rng.choice(found, size=(DRAWS, len(found))), axis=1)
