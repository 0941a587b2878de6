"""`python -m loadtest run`: server, expected responses, warm-up, load, evaluation and report."""

import argparse
from datetime import datetime
from pathlib import Path

from loadtest import packages, report, request_plan, results, server_under_test
from loadtest.locust_run import run_closed_loop
from loadtest.open_loop_run import print_progress, run_open_loop
from loadtest.options import mix_of
from loadtest.results import Result, Slo
from loadtest.run_errors import LoadTestUsageError

REPORTS = Path("build/load")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 if the goal was met, otherwise 1."""
    if arguments.rate is None and arguments.users is None:
        arguments.rate = 200.0
    if arguments.users is not None:
        packages.require("locust")  # check for the package before the server starts
    out = output_folder(arguments.out, f"{arguments.scenario}-{'open' if arguments.rate else 'closed'}")
    with server_under_test.served(arguments.url, out / "server.log", arguments.workers) as url:
        print_progress(f"recording the responses of {url} before the load")
        plan = request_plan.make(url, mix_of(arguments))
        load = run_open_loop if arguments.rate else run_closed_loop
        result = load(url, plan, arguments, out)
    result.reasons = results.failures(result, Slo.parse(arguments.slo))
    return conclude(result, out)


def conclude(result: Result, out: Path) -> int:
    """Write the report and print its path."""
    path = report.write(result, out)
    print(report.text(result))
    print(f"\nreport: {path.resolve()}", flush=True)
    return 0 if result.passed else 1


def output_folder(path: Path | None, name: str) -> Path:
    out = path or REPORTS / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoadTestUsageError(f"cannot create {out}: {error.strerror}") from error
    return out
