"""`python -m scoring`: score files with a stored model.

Exit codes: 0 done, 1 scoring failed or too many rows are invalid, 2 wrong usage or unusable inputs.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.text import counted
from scoring.score_parser import PROGRAM, score_parser

if TYPE_CHECKING:  # shell completion imports this module at each press of the tab key
    from scoring.scoring_options import ScoringOptions

MAX_LISTED_FAILURES = 20


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the command and return its exit code. program: the name of the command in help texts."""
    parsed = score_parser(program).parse_args(arguments)
    from models.serving_state import ServingStateError
    from models.signals import interrupt_on_signals
    from models.version_files import StoreError
    from scoring.errors import ScoringError, UnusableRequest

    try:
        with interrupt_on_signals():
            return score(parsed)
    except UnusableRequest as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ScoringError, StoreError, ServingStateError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command to continue", file=sys.stderr)
        return 1


def score(parsed: argparse.Namespace) -> int:
    """Run the job of the parsed command line, and print a summary."""
    from models.version_lifecycle import VersionStore
    from scoring.bulk_job import JobRequest, run_job
    from scoring.cluster_job import run_cluster_job

    request = JobRequest(
        parsed.model, parsed.inputs, parsed.out, scoring_options(parsed), parsed.workers, parsed.max_bad
    )
    versions = VersionStore.configured()
    local = parsed.engine == "local"
    result = run_job(request, versions) if local else run_cluster_job(parsed.engine, request, versions)
    rate = f"{result.scored / max(result.seconds, 1e-9):,.0f} rows/s"
    earlier = f", {result.rows - result.scored:,} of them by an earlier run" if result.rows > result.scored else ""
    rows, inputs = counted(result.rows, "row", spec=","), counted(result.inputs, "input")
    print(
        f"{result.tag}: {rows} of {inputs} in {parsed.out}{earlier}; "
        f"{result.seconds:.1f} s, {rate}; {result.invalid:,} invalid, {result.with_warnings:,} with warnings"
    )
    for failure in result.failures[:MAX_LISTED_FAILURES]:
        print(f"error: {failure}", file=sys.stderr)
    if result.failures:
        parts, them = counted(len(result.failures), "part"), "it" if len(result.failures) == 1 else "them"
        print(f"error: {parts} failed; run the same command to try {them} again", file=sys.stderr)
    elif result.too_many_invalid:
        print(
            f"error: more rows are invalid than --max-bad {parsed.max_bad} allows: see {parsed.out}/_errors",
            file=sys.stderr,
        )
    return 0 if result.succeeded else 1


def scoring_options(parsed: argparse.Namespace) -> "ScoringOptions":
    """The options of the output from the command line. Raises UnusableRequest."""
    from models.option_parsing import parse_output_options
    from models.output_options import OptionError
    from scoring.errors import UnusableRequest
    from scoring.scoring_options import ScoringOptions

    explain = "fast" if parsed.explain_fast else "true" if parsed.explain else "false"
    try:
        outputs = parse_output_options({"interval": parsed.interval, "set": parsed.set, "explain": explain})
    except OptionError as error:
        raise UnusableRequest(str(error)) from None
    names = next(csv.reader([parsed.keep], skipinitialspace=True), [])
    keep = tuple(dict.fromkeys(name for name in names if name))
    return ScoringOptions(keep, outputs, parsed.ignore_unknown)


PARSERS = {"": score_parser}
"""The parser of each subcommand, for shell completion in `tabserve`."""


if __name__ == "__main__":
    sys.exit(main())
