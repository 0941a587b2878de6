"""`python -m loadtest`. Exit codes: 0 success, 1 a goal was missed or the run failed, 2 wrong usage or no server."""

import argparse
import signal
import sys
from collections.abc import Sequence

from loadtest import bench_commands, commands
from loadtest.packages import MissingPackageError
from models.command_line import CommandParser

PROGRAM = "python -m loadtest"


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run a command line and return its exit code. program: the name of the command in help texts."""
    arguments = load_parser(program).parse_args(argv)
    arguments.command_line = list(sys.argv[1:] if argv is None else argv)
    try:
        return int(arguments.run(arguments))
    except MissingPackageError as error:
        print(f"error: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("loadtest", "models", "service", "training"):
            raise
        print(f"error: {MissingPackageError(error.name.split('.')[0])}", file=sys.stderr)
    return 2


def load_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(program, description="Load tests and benchmarks of tabserve.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add(subparsers)
    bench_commands.add(subparsers)
    return parser


PARSERS = {"": load_parser}
"""The parser of each subcommand, from which `tabserve` makes shell completions."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # stops the servers that were started
    sys.exit(main())
