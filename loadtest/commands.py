"""The commands `run`, `saturate` and `compare`: their options, and their errors as one line with an exit code."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.options import add_mix, positive_int

SLO = "p99=50ms,errors=0.1%"
SCENARIO_NAMES = ("steady", "step", "spike", "soak")


def add(commands: Any) -> None:
    """Add the commands to the command line."""
    run = commands.add_parser("run", help="put load on a server and check the result against a goal")
    run.add_argument("--scenario", choices=SCENARIO_NAMES, default="steady", help="(default: %(default)s)")
    load = run.add_mutually_exclusive_group()
    load.add_argument(
        "--rate", type=positive_float, metavar="R", help="open loop: requests per second, independent of the responses"
    )
    load.add_argument(
        "--users", type=positive_int, metavar="N", help="closed loop: Locust users who wait for each response"
    )
    run.add_argument("--seconds", type=positive_float, metavar="S", help="duration (default: that of the scenario)")
    add_common(run)
    run.set_defaults(run=with_error_line(run_run))

    saturate = commands.add_parser("saturate", help="find the highest rate that meets the goal")
    saturate.add_argument("--repeats", type=positive_int, default=3, metavar="N", help="(default: %(default)s)")
    saturate.add_argument(
        "--seconds", type=positive_float, default=4, metavar="S", help="duration of each probe (default: %(default)s)"
    )
    saturate.add_argument(
        "--steady-seconds",
        type=positive_float,
        default=15,
        metavar="S",
        help="duration of the run at the end (default: %(default)s)",
    )
    add_common(saturate)
    saturate.set_defaults(run=with_error_line(run_saturate))

    compare = commands.add_parser("compare", help="compare two results: ratios with confidence intervals")
    compare.add_argument("a", type=Path, metavar="A.json", help="before")
    compare.add_argument("b", type=Path, metavar="B.json", help="after")
    compare.set_defaults(run=with_error_line(run_compare))


def add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", type=http_url, help="of a running server (default: start one on loopback and stop it afterwards)"
    )
    parser.add_argument(
        "--workers",
        type=positive_int,
        metavar="N",
        help="workers of the started server (default: the number of cores minus one)",
    )
    parser.add_argument("--slo", type=goal, default=SLO, help="the goal (default: " + SLO.replace("%", "%%") + ")")
    parser.add_argument(
        "--timeout", type=positive_float, default=10.0, metavar="S", help="timeout of each request (default: 10)"
    )
    parser.add_argument(
        "--seed", type=positive_int, default=1, metavar="N", help="seed of the arrival times and the order of requests"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the report (default: build/load/…)")
    add_mix(parser)


def with_error_line(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Print errors that the user can correct as one line without a traceback."""

    def run(arguments: argparse.Namespace) -> int:
        from loadtest.request_plan import PlanError
        from loadtest.results import ResultError
        from loadtest.run_errors import LoadTestUsageError, LocustError
        from loadtest.server_under_test import ServerError

        try:
            return command(arguments)
        except LocustError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except (ServerError, PlanError, LoadTestUsageError, ResultError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return run


def run_run(arguments: argparse.Namespace) -> int:
    from loadtest import load_run

    return load_run.run(arguments)


def run_saturate(arguments: argparse.Namespace) -> int:
    from loadtest import saturate

    return saturate.run(arguments)


def run_compare(arguments: argparse.Namespace) -> int:
    from loadtest import compare

    return compare.run(arguments)


# Option types


def positive_float(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
    return number


def http_url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"invalid URL {text!r}; expected http://HOST:PORT")
    return text.rstrip("/")


def goal(text: str) -> str:
    """Check a goal; the value stays text, which the report shows."""
    from loadtest.results import Slo

    try:
        Slo.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
