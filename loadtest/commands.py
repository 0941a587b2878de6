"""The commands `run`, `saturate` and `compare`: their options, and their errors as one line and exit code 2."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.options import add_mix, whole

SLO = "p99=50ms,errors=0.1%"
SCENARIO_NAMES = ("steady", "step", "spike", "soak")


def add(commands: Any) -> None:
    """Add them to the command line."""
    run = commands.add_parser("run", help="load a server for a while and judge how it bore it")
    run.add_argument("--scenario", choices=SCENARIO_NAMES, default="steady", help="(default: %(default)s)")
    load = run.add_mutually_exclusive_group()
    load.add_argument(
        "--rate", type=above_zero, metavar="R", help="open loop: requests a second, whether or not answers come"
    )
    load.add_argument("--users", type=whole, metavar="N", help="closed loop: Locust users who wait for their answers")
    run.add_argument("--seconds", type=above_zero, metavar="S", help="how long (default: the scenario's own time)")
    add_common(run)
    run.set_defaults(run=guarded(run_run))

    saturate = commands.add_parser("saturate", help="find the highest rate that meets the goal")
    saturate.add_argument("--repeats", type=whole, default=3, metavar="N", help="(default: %(default)s)")
    saturate.add_argument("--seconds", type=above_zero, default=4, metavar="S", help="of a try (default: %(default)s)")
    saturate.add_argument(
        "--steady-seconds",
        type=above_zero,
        default=15,
        metavar="S",
        help="of the run at the end (default: %(default)s)",
    )
    add_common(saturate)
    saturate.set_defaults(run=guarded(run_saturate))

    compare = commands.add_parser("compare", help="ratios of two results, with intervals")
    compare.add_argument("a", type=Path, metavar="A.json", help="before")
    compare.add_argument("b", type=Path, metavar="B.json", help="after")
    compare.set_defaults(run=guarded(run_compare))


def add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", type=http_url, help="of a running server (default: starts one on loopback, and ends it)"
    )
    parser.add_argument(
        "--workers", type=whole, metavar="N", help="of the server started (default: one core is left free)"
    )
    parser.add_argument("--slo", type=goal, default=SLO, help="the goal (default: " + SLO.replace("%", "%%") + ")")
    parser.add_argument("--timeout", type=above_zero, default=10.0, metavar="S", help="for an answer (default: 10)")
    parser.add_argument("--seed", type=whole, default=1, metavar="N", help="of the arrivals and the order of requests")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the report (default: build/load/…)")
    add_mix(parser)


def guarded(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """What is the caller's to mend becomes one line, without a traceback."""

    def run(given: argparse.Namespace) -> int:
        from loadtest.load_run import LoadTestUsageError
        from loadtest.plan import PlanError
        from loadtest.results import ResultError
        from loadtest.server_under_test import ServerError

        try:
            return command(given)
        except (ServerError, PlanError, LoadTestUsageError, ResultError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return run


def run_run(given: argparse.Namespace) -> int:
    from loadtest import load_run

    return load_run.run(given)


def run_saturate(given: argparse.Namespace) -> int:
    from loadtest import saturate

    return saturate.run(given)


def run_compare(given: argparse.Namespace) -> int:
    from loadtest import compare

    return compare.run(given)


# Types of options


def above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def http_url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is no URL; write http://HOST:PORT")
    return text.rstrip("/")


def goal(text: str) -> str:
    """Check a goal; it stays text, as the report repeats it."""
    from loadtest.results import Slo

    try:
        Slo.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
