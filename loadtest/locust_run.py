"""A run with Locust users, who wait for their responses."""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from loadtest import open_loop_run, results, server_under_test
from loadtest.request_plan import RequestPlan
from loadtest.request_records import RequestRecords
from loadtest.results import Result
from loadtest.run_errors import LocustError
from loadtest.run_result import result_of
from loadtest.scenarios import SCENARIOS


def run_closed_loop(url: str, plan: RequestPlan, arguments: argparse.Namespace, out: Path) -> Result:
    """Run Locust users, who wait for their responses."""
    scenario = SCENARIOS[arguments.scenario]
    seconds = arguments.seconds or scenario.seconds
    machine = results.machine()
    for old in out.glob("locust.*.npz"):
        old.unlink()
    command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py,loadtest/locust_shape.py", "--headless"]
    command += ["--host", url, "--users", str(arguments.users), "--scenario", arguments.scenario]
    command += ["--scenario-seconds", str(seconds), "--warm-up", str(open_loop_run.WARM_UP_S)]
    command += ["--record", str(out.resolve() / "locust")]
    command += ["--mix", arguments.mix, "--many-rows", str(arguments.many_rows), "--models", arguments.models]
    command += ["--hot", str(arguments.hot), "--exit-code-on-error", "0"]
    with server_under_test.monitored(url, out / "server.jsonl"):
        done = subprocess.run(command, cwd=server_under_test.ROOT, stdout=sys.stderr)
    if done.returncode:
        raise LocustError(f"Locust ended with exit code {done.returncode}; its messages are above")
    records, started = read_records(out, plan, seconds)
    return result_of(records, "closed", url, plan, arguments, machine, out, started)


def read_records(out: Path, plan: RequestPlan, seconds: float) -> tuple[RequestRecords, float]:
    """The measurements of Locust's users without the warm-up, and the time at which the warm-up ended."""
    files = [np.load(path) for path in sorted(out.glob("locust.*.npz"))]
    start, duration, error, index = (
        np.concatenate([file[name] for file in files]) if files else np.zeros(0)
        for name in ("start", "seconds", "error", "index")
    )
    if not len(start):
        raise LocustError("Locust sent no requests")
    order = np.argsort(start, kind="stable")
    start, duration, error, index = start[order], duration[order], error[order], index[order].astype(np.int32)
    measured_from = float(start[0]) + open_loop_run.WARM_UP_S
    kept = (start >= measured_from) & (start < measured_from + seconds)
    start, duration, error, index = (
        start[kept] - measured_from,
        duration[kept],
        error[kept],
        index[kept],
    )
    kinds = ["good", *sorted(set(error.tolist()) - {""})]
    kind = np.array([kinds.index(text or "good") for text in error.tolist()], dtype=np.int32)
    cpu = np.concatenate([file["cpu"] for file in files])
    base = np.array([np.interp(measured_from, cpu[:, 0], column) for column in cpu.T])
    cpu = cpu[cpu[:, 0] >= measured_from]
    return (
        RequestRecords(
            due=start,
            processed=start,
            sent=start,
            done=start + duration,
            kind=kind,
            request=np.asarray(index, dtype=np.int32),
            rows=np.array([request.rows for request in plan.requests], dtype=np.int32)[index],
            kinds=kinds,
            names=[request.name for request in plan.requests],
            cpu=[(float(a), float(b)) for a, b in cpu - base],
            seconds=seconds,
        ),
        measured_from,
    )
