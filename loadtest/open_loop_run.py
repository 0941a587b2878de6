"""A run with requests at a fixed rate: warm-up, load and progress."""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from loadtest import open_loop, results, server_under_test
from loadtest.open_loop import RunProgress
from loadtest.request_plan import RequestPlan
from loadtest.results import Result
from loadtest.run_errors import LoadTestUsageError
from loadtest.run_result import result_of
from loadtest.scenarios import SCENARIOS, arrivals
from models.text import counted

WARM_UP_S = 2.0
WARM_UP_RATE = 300.0


def run_open_loop(url: str, plan: RequestPlan, arguments: argparse.Namespace, out: Path) -> Result:
    """Send requests at a fixed rate."""
    scenario = SCENARIOS[arguments.scenario]
    seconds = arguments.seconds or scenario.seconds
    rng = np.random.default_rng(arguments.seed)
    due = arrivals(scenario, arguments.rate, seconds, rng)
    if not len(due):
        given = f"per second for {seconds:g} s"
        rate = counted(arguments.rate, f"request {given} gives", f"requests {given} give", spec="g")
        raise LoadTestUsageError(f"{rate} no request; increase one of them")
    machine = results.machine()
    warm_up(url, plan, arguments.rate * scenario.stages[0].level, rng)
    print_progress(f"{arguments.scenario}: {scenario.description}; {counted(len(due), 'request')} in {seconds:g} s")
    with server_under_test.monitored(url, out / "server.jsonl"):
        started = time.time()
        records = open_loop.run(url, plan, due, seconds, rng=rng, timeout_s=arguments.timeout, progress=ProgressLine())
    return result_of(records, "open", url, plan, arguments, machine, out, started)


def warm_up(url: str, plan: RequestPlan, rate: float, rng: np.random.Generator) -> None:
    """Put load on the server without measuring."""
    due = arrivals(SCENARIOS["steady"], min(rate, WARM_UP_RATE), WARM_UP_S, rng)
    open_loop.run(url, plan, due, WARM_UP_S, rng=rng)


class ProgressLine:
    """Prints a line of progress every second."""

    def __init__(self) -> None:
        self.last = RunProgress(0.0, 0, 0, 0, ())

    def __call__(self, now: RunProgress) -> None:
        span = max(now.seconds - self.last.seconds, 1e-3)
        p = results.quantiles(np.array(now.latencies))
        print_progress(
            f"{now.seconds:5.0f} s  due {(now.due - self.last.due) / span:6.0f}/s"
            f"  answered {(now.answered - self.last.answered) / span:6.0f}/s"
            f"  p50 {p['p50']:8.2f} ms  p99 {p['p99']:8.2f} ms  errors {now.errors}"
        )
        self.last = now


def print_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
