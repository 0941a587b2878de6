"""The highest rate that a server bears: found by trying, again and again, with a spread."""

import argparse
import time
from pathlib import Path

import numpy as np

from loadtest import open_loop, plan, results, server_under_test
from loadtest.answer_check import FATAL
from loadtest.load_run import conclude, folder, run_open_loop, say, warm_up
from loadtest.options import mix_of
from loadtest.plan import RequestPlan
from loadtest.results import Probe, Result, Saturation, Slo
from loadtest.scenarios import SCENARIOS, arrivals

FIRST_RATE = 100.0
MOST_RATE = 1e6
CLOSE_ENOUGH = 1.05  # between a rate that holds and one that does not
BACK = 0.8  # of the rate found, where the next repeat begins
STEADY = 0.7  # of the rate found, for the run that the report shows in detail
BREATH_S = 0.3  # between probes


def run(given: argparse.Namespace) -> int:
    """`python -m loadtest saturate`: 0 when a rate was found that is the server's own limit."""
    out = folder(given.out, "saturate")
    slo = Slo.parse(given.slo)
    with server_under_test.served(given.url, out / "server.log", given.workers) as url:
        say(f"asking {url} quietly what it answers")
        asked = plan.make(url, mix_of(given))
        search = RateSearch(url, asked, slo, given)
        warm_up(url, asked, FIRST_RATE, search.rng)
        found = search.repeats(given.repeats)
        result = detailed(url, asked, given, out, found)
    result.reasons = results.judge(result, slo)
    if not all(found.rates):
        result.reasons.append(f"not even {FIRST_RATE:g} requests a second met the goal")
    if found.limited:
        result.reasons.append(f"the generator gave up first: the server bears at least {found.rate:.0f}/s")
    return conclude(result, out)


def detailed(url: str, asked: RequestPlan, given: argparse.Namespace, out: Path, found: Saturation) -> Result:
    """A steady run at a rate that the server bears with ease, so that the report shows how that looks."""
    given.scenario, given.rate = "steady", float(max(round(found.rate * STEADY, -1), 10))
    given.seconds = given.steady_seconds
    result = run_open_loop(url, asked, given, out)
    result.saturation = found
    return result


class RateSearch:
    """Tries rates; every try is kept."""

    def __init__(self, url: str, asked: RequestPlan, slo: Slo, given: argparse.Namespace) -> None:
        self.url, self.asked, self.slo = url, asked, slo
        self.seconds, self.timeout_s = given.seconds, given.timeout
        self.rng = np.random.default_rng(given.seed)
        self.probes: list[Probe] = []

    def repeats(self, count: int) -> Saturation:
        """The whole search so often, each repeat from below what the last one found."""
        rates: list[float] = []
        for repeat in range(count):
            rates.append(self.highest(repeat, rates[-1] * BACK if rates and rates[-1] else FIRST_RATE))
        limited = sum(self.ended_by_generator(repeat) for repeat in range(count)) * 2 > count
        return Saturation([round(rate, 1) for rate in rates], self.probes, limited)

    def ended_by_generator(self, repeat: int) -> bool:
        """Whether the lowest rate that failed in a repeat failed for the generator's sake."""
        failed = [probe for probe in self.probes if probe.repeat == repeat and not probe.passed]
        return bool(failed) and min(failed, key=lambda probe: probe.rate).limited

    def highest(self, repeat: int, rate: float) -> float:
        """The highest rate that holds, to a twentieth: doubled until one fails, then halved in between."""
        low, high = 0.0, 0.0
        step = 2.0 if repeat == 0 else CLOSE_ENOUGH**2
        while not high and rate < MOST_RATE:
            if self.holds(repeat, rate):
                low, rate = rate, rate * step
            else:
                high = rate
        while not low and high > FIRST_RATE / 10:  # began too high
            rate = high / step
            if self.holds(repeat, rate):
                low = rate
            else:
                high = rate
        while low and high / low > CLOSE_ENOUGH:
            rate = float(np.sqrt(low * high))
            if self.holds(repeat, rate):
                low = rate
            else:
                high = rate
        return low

    def holds(self, repeat: int, rate: float) -> bool:
        """Whether the server keeps its goal at a rate. It fails when it fails twice: once may be other programs."""
        return self.attempt(repeat, rate) or self.attempt(repeat, rate)

    def attempt(self, repeat: int, rate: float) -> bool:
        """A short run, kept as a probe."""
        due = arrivals(SCENARIOS["steady"], rate, self.seconds, self.rng)
        records = open_loop.run(
            self.url, self.asked, due, self.seconds, rng=self.rng, timeout_s=min(self.timeout_s, 2.0)
        )
        latency, errors = results.quantiles(records.latency), results.errors_of(records)
        generator = results.judge_generator(records)
        reasons = self.slo.misses(latency, sum(errors.values()), len(due))
        reasons += [f"{count} of {kind}" for kind, count in errors.items() if kind in FATAL]
        late = float(np.max(records.done, initial=0.0))
        throughput = float(records.good.sum()) / max(self.seconds, late)
        probe = Probe(
            repeat, round(rate, 1), not reasons, reasons, latency["p99"], round(throughput, 1), bool(generator.limit)
        )
        if generator.limit:
            probe.passed = False
            probe.reasons.append(f"generator: {generator.limit}")
        self.probes.append(probe)
        say(
            f"repeat {repeat + 1}  {rate:8.0f}/s  p99 {latency['p99']:9.2f} ms  "
            + ("holds" if probe.passed else "; ".join(probe.reasons))
        )
        time.sleep(BREATH_S)
        return probe.passed
