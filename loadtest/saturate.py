"""`python -m loadtest saturate`: finds the highest rate at which a server meets its goal, several times."""

import argparse
import time
from pathlib import Path

import numpy as np

from loadtest import open_loop, request_plan, results, server_under_test
from loadtest.load_run import conclude, output_folder
from loadtest.open_loop_run import print_progress, run_open_loop, warm_up
from loadtest.options import mix_of
from loadtest.request_plan import RequestPlan
from loadtest.response_check import FATAL
from loadtest.results import Probe, Result, Saturation, Slo
from loadtest.scenarios import SCENARIOS, arrivals

FIRST_RATE = 100.0
MAX_RATE = 1e6
PRECISION = 1.05  # ratio of the lowest failed rate to the highest passed one
RESTART = 0.8  # the next repeat starts at this fraction of the rate that the last repeat found
STEADY = 0.7  # rate of the final run, as a fraction of the rate found
PAUSE_S = 0.3  # pause between probes


def run(arguments: argparse.Namespace) -> int:
    """Return 0 if the limit of the server was found, otherwise 1."""
    out = output_folder(arguments.out, "saturate")
    slo = Slo.parse(arguments.slo)
    with server_under_test.served(arguments.url, out / "server.log", arguments.workers) as url:
        print_progress(f"recording the responses of {url} before the load")
        plan = request_plan.make(url, mix_of(arguments))
        search = RateSearch(url, plan, slo, arguments)
        warm_up(url, plan, FIRST_RATE, search.rng)
        found = search.repeats(arguments.repeats)
        result = run_steady(url, plan, arguments, out, found)
    result.reasons = results.failures(result, slo)
    if not all(found.rates):
        result.reasons.append(f"{FIRST_RATE:g} requests per second already missed the goal")
    if found.limited:
        result.reasons.append(
            f"the load generator reached its limit first: the server sustains at least {found.rate:.0f}/s"
        )
    return conclude(result, out)


def run_steady(url: str, plan: RequestPlan, arguments: argparse.Namespace, out: Path, found: Saturation) -> Result:
    """Run at a rate well below the limit. The report shows this run in detail."""
    arguments.scenario, arguments.rate = "steady", float(max(round(found.rate * STEADY, -1), 10))
    arguments.seconds = arguments.steady_seconds
    result = run_open_loop(url, plan, arguments, out)
    result.saturation = found
    return result


class RateSearch:
    """Searches for the highest rate that meets the goal, and records every probe."""

    def __init__(self, url: str, plan: RequestPlan, slo: Slo, arguments: argparse.Namespace) -> None:
        self.url, self.plan, self.slo = url, plan, slo
        self.seconds, self.timeout_s = arguments.seconds, arguments.timeout
        self.rng = np.random.default_rng(arguments.seed)
        self.probes: list[Probe] = []

    def repeats(self, count: int) -> Saturation:
        """Repeat the search; each repeat starts below the rate that the last one found."""
        rates: list[float] = []
        for repeat in range(count):
            rates.append(self.highest(repeat, rates[-1] * RESTART if rates and rates[-1] else FIRST_RATE))
        limited = sum(self.limited_by_generator(repeat) for repeat in range(count)) * 2 > count
        return Saturation([round(rate, 1) for rate in rates], self.probes, limited)

    def limited_by_generator(self, repeat: int) -> bool:
        """Whether the lowest failed rate of a repeat failed because of the load generator."""
        failed = [probe for probe in self.probes if probe.repeat == repeat and not probe.passed]
        return bool(failed) and min(failed, key=lambda probe: probe.rate).limited

    def highest(self, repeat: int, rate: float) -> float:
        """The highest rate that passes, to within 5 %: double the rate until it fails, then bisect."""
        low, high = 0.0, 0.0
        step = 2.0 if repeat == 0 else PRECISION**2
        while not high and rate < MAX_RATE:
            if self.passes(repeat, rate):
                low, rate = rate, rate * step
            else:
                high = rate
        while not low and high > FIRST_RATE / 10:  # the first rate of this repeat failed
            rate = high / step
            if self.passes(repeat, rate):
                low = rate
            else:
                high = rate
        while low and high / low > PRECISION:
            rate = float(np.sqrt(low * high))
            if self.passes(repeat, rate):
                low = rate
            else:
                high = rate
        return low

    def passes(self, repeat: int, rate: float) -> bool:
        """Whether the server meets its goal at a rate. A failure is repeated: another program may have caused it."""
        return self.probe(repeat, rate) or self.probe(repeat, rate)

    def probe(self, repeat: int, rate: float) -> bool:
        """Run at a rate for a short time and record the result."""
        due = arrivals(SCENARIOS["steady"], rate, self.seconds, self.rng)
        records = open_loop.run(
            self.url, self.plan, due, self.seconds, rng=self.rng, timeout_s=min(self.timeout_s, 2.0)
        )
        latency, errors = results.quantiles(records.latency), results.errors_of(records)
        generator = results.generator_health(records)
        reasons = self.slo.failures(latency, sum(errors.values()), len(due))
        reasons += [f"{kind}: {count}" for kind, count in errors.items() if kind in FATAL]
        late = float(np.max(records.done, initial=0.0))
        throughput = float(records.good.sum()) / max(self.seconds, late)
        probe = Probe(
            repeat, round(rate, 1), not reasons, reasons, latency["p99"], round(throughput, 1), bool(generator.limit)
        )
        if generator.limit:
            probe.passed = False
            probe.reasons.append(f"generator: {generator.limit}")
        self.probes.append(probe)
        print_progress(
            f"repeat {repeat + 1}  {rate:8.0f}/s  p99 {latency['p99']:9.2f} ms  "
            + ("passed" if probe.passed else "; ".join(probe.reasons))
        )
        time.sleep(PAUSE_S)
        return probe.passed
