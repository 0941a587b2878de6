"""A run from start to report: server, quiet pass, warm-up, load, judgement, files."""

import argparse
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from loadtest import open_loop, plan, report, results, server_under_test
from loadtest.open_loop import RunProgress
from loadtest.options import mix_of
from loadtest.plan import RequestPlan
from loadtest.request_records import RequestRecords
from loadtest.results import Result, Slo
from loadtest.scenarios import SCENARIOS, arrivals

WARM_UP_S = 2.0
WARM_UP_RATE = 300.0
REPORTS = Path("build/load")


class LoadTestUsageError(Exception):
    """A request for a load test that has no sense; the message is one line."""


def run(given: argparse.Namespace) -> int:
    """`python -m loadtest run`: 0 when the goal was met, 1 when not."""
    if given.rate is None and given.users is None:
        given.rate = 200.0
    out = folder(given.out, f"{given.scenario}-{'open' if given.rate else 'closed'}")
    with server_under_test.served(given.url, out / "server.log", given.workers) as url:
        say(f"asking {url} quietly what it answers")
        asked = plan.make(url, mix_of(given))
        load = run_open_loop if given.rate else run_closed_loop
        result = load(url, asked, given, out)
    result.reasons = results.judge(result, Slo.parse(given.slo))
    return conclude(result, out)


def conclude(result: Result, out: Path) -> int:
    """Write the report and say where it is."""
    path = report.write(result, out)
    print(report.text(result))
    print(f"\nreport: {path.resolve()}", flush=True)
    return 0 if result.passed else 1


def folder(given: Path | None, name: str) -> Path:
    out = given or REPORTS / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoadTestUsageError(f"{out} cannot be made: {error.strerror}") from error
    return out


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Open loop


def run_open_loop(url: str, asked: RequestPlan, given: argparse.Namespace, out: Path) -> Result:
    """Requests at a set rate."""
    scenario = SCENARIOS[given.scenario]
    seconds = given.seconds or scenario.seconds
    rng = np.random.default_rng(given.seed)
    due = arrivals(scenario, given.rate, seconds, rng)
    if not len(due):
        raise LoadTestUsageError(f"{given.rate:g} requests a second for {seconds:g} s are none; ask for more")
    machine = results.machine()
    warm_up(url, asked, given.rate * scenario.pieces[0].level, rng)
    say(f"{given.scenario}: {scenario.about}; {len(due)} requests in {seconds:g} s")
    with server_under_test.watched(url, out / "server.jsonl"):
        started = time.time()
        records = open_loop.run(url, asked, due, seconds, rng=rng, timeout_s=given.timeout, progress=ProgressLine())
    return result_of(records, "open", url, asked, given, machine, out, started)


def warm_up(url: str, asked: RequestPlan, rate: float, rng: np.random.Generator) -> None:
    """Load whose answers nobody counts."""
    due = arrivals(SCENARIOS["steady"], min(rate, WARM_UP_RATE), WARM_UP_S, rng)
    open_loop.run(url, asked, due, WARM_UP_S, rng=rng)


class ProgressLine:
    """A line of progress each second."""

    def __init__(self) -> None:
        self.before = RunProgress(0.0, 0, 0, 0, ())

    def __call__(self, now: RunProgress) -> None:
        span = max(now.moment - self.before.moment, 1e-3)
        p = results.quantiles(np.array(now.latencies))
        say(
            f"{now.moment:5.0f} s  due {(now.due - self.before.due) / span:6.0f}/s"
            f"  answered {(now.answered - self.before.answered) / span:6.0f}/s"
            f"  p50 {p['p50']:8.2f} ms  p99 {p['p99']:8.2f} ms  faults {now.faults}"
        )
        self.before = now


# Closed loop


def run_closed_loop(url: str, asked: RequestPlan, given: argparse.Namespace, out: Path) -> Result:
    """Users who wait for their answers, by Locust."""
    scenario = SCENARIOS[given.scenario]
    seconds = given.seconds or scenario.seconds
    machine = results.machine()
    for old in out.glob("locust.*.npz"):
        old.unlink()
    command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py,loadtest/locust_shape.py", "--headless"]
    command += ["--host", url, "--users", str(given.users), "--scenario", given.scenario]
    command += [
        "--scenario-seconds",
        str(seconds),
        "--warm-up",
        str(WARM_UP_S),
        "--record",
        str(out.resolve() / "locust"),
    ]
    command += ["--mix", given.mix, "--many-rows", str(given.many_rows), "--models", given.models]
    command += ["--hot", str(given.hot), "--exit-code-on-error", "0"]
    with server_under_test.watched(url, out / "server.jsonl"):
        done = subprocess.run(command, cwd=server_under_test.ROOT, stdout=sys.stderr)
    if done.returncode:
        raise server_under_test.ServerError(f"locust ended with exit code {done.returncode}; it says above why")
    records, started = recorded(out, asked, seconds)
    return result_of(records, "closed", url, asked, given, machine, out, started)


def recorded(out: Path, asked: RequestPlan, seconds: float) -> tuple[RequestRecords, float]:
    """What Locust's users saw, without the warm-up; and when that ended."""
    files = [np.load(path) for path in sorted(out.glob("locust.*.npz"))]
    start, lasted, fault, place = (
        np.concatenate([file[name] for file in files]) if files else np.zeros(0)
        for name in ("start", "seconds", "fault", "place")
    )
    if not len(start):
        raise server_under_test.ServerError("locust asked nothing")
    order = np.argsort(start, kind="stable")
    start, lasted, fault, place = start[order], lasted[order], fault[order], place[order].astype(np.int32)
    began = float(start[0]) + WARM_UP_S
    kept = (start >= began) & (start < began + seconds)
    start, lasted, fault, place = start[kept] - began, lasted[kept], fault[kept], place[kept]
    kinds = ["good", *sorted(set(fault.tolist()) - {""})]
    kind = np.array([kinds.index(text or "good") for text in fault.tolist()], dtype=np.int32)
    cpu = np.concatenate([file["cpu"] for file in files])
    base = np.array([np.interp(began, cpu[:, 0], column) for column in cpu.T])
    cpu = cpu[cpu[:, 0] >= began]
    return (
        RequestRecords(
            due=start,
            taken=start,
            sent=start,
            done=start + lasted,
            kind=kind,
            ask=np.asarray(place, dtype=np.int32),
            rows=np.array([ask.rows for ask in asked.asks], dtype=np.int32)[place],
            kinds=kinds,
            names=[ask.name for ask in asked.asks],
            cpu=[(float(a), float(b)) for a, b in cpu - base],
            seconds=seconds,
        ),
        began,
    )


# The result


def result_of(
    records: RequestRecords,
    loop: Any,
    url: str,
    asked: RequestPlan,
    given: argparse.Namespace,
    machine: dict[str, str],
    out: Path,
    started: float,
) -> Result:
    watched = server_under_test.observations(out / "server.jsonl", since=started)
    return Result(
        command="python -m loadtest " + " ".join(given.command_line),
        started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        url=url,
        machine=machine | {"server": "started for the run" if given.url is None else "was there already"},
        scenario=given.scenario,
        loop=loop,
        load=given.rate if loop == "open" else given.users,
        mix=dict(vars(asked.mix)),
        models=asked.models,
        slo=given.slo,
        server=[entry for entry in watched if 0 <= entry["moment"] <= records.seconds + 2],
        **results.figures(records, loop),
    )
