"""`tabserve`, the same as `python -m tabserve`. Exit codes: those of the command, and 2 for wrong usage."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from models.command_line import CommandParser, missing_library
from service.version import version
from tabserve.commands import COMMANDS, Command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand. Returns its exit code."""
    if "_ARGCOMPLETE" in os.environ:  # the shell requests completions
        from tabserve import completion

        completion.complete(os.environ["COMP_LINE"])
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] == "completion":
        from tabserve import completion

        return completion.main(words[1:])
    if words and words[0] in COMMANDS:
        return run(words[0], COMMANDS[words[0]], words[1:])
    parser().parse_args(words)
    return 0


def run(name: str, command: Command, arguments: list[str]) -> int:
    """Call `main` of the package. If a library of an extra is not installed, print one line."""
    program = "tabserve" if command.subcommand else f"tabserve {name}"
    leading = [command.subcommand] if command.subcommand else []
    try:
        package = importlib.import_module(f"{command.package}.__main__")
        return int(package.main([*leading, *arguments], program))
    except ModuleNotFoundError as error:
        if not command.extra or (error.name or "").partition(".")[0] in {each.package for each in COMMANDS.values()}:
            raise
        library = (error.name or "").partition(".")[0]
        print(f"error: {missing_library(library, command.extra)}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The parser of `--help`, `--version` and unknown commands. The packages parse the rest."""
    top = CommandParser(
        "tabserve",
        description="Train neural networks on tables and serve them as prediction APIs.",
        epilog="tabserve COMMAND --help describes the options of a command.",
    )
    top.add_argument("--version", action="version", version=f"tabserve {version()}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.summary, add_help=False)
    commands.add_parser("completion", help="print the completion script of a shell", add_help=False)
    return top


if __name__ == "__main__":
    sys.exit(main())
