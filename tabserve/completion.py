"""Completion of `tabserve` in bash, zsh and fish, by argcomplete."""

import argparse
import importlib
from collections.abc import Sequence

import argcomplete
from argcomplete.shell_integration import shellcode

from models.command_line import CommandParser
from tabserve.commands import COMMANDS

SHELLS = ("bash", "zsh", "fish")


def main(arguments: Sequence[str]) -> int:
    """Print the script that makes a shell complete `tabserve`."""
    shell = completion_parser().parse_args(arguments).shell
    print(shellcode(["tabserve"], shell=shell))
    return 0


def complete(line: str) -> None:
    """Send the shell the completions of the line that is being typed, and end the process."""
    words = line.split()
    top = argparse.ArgumentParser("tabserve")
    top.add_argument("--version", action="store_true")
    commands = top.add_subparsers()
    for name in (*COMMANDS, "completion"):
        chosen = words[1:2] == [name]
        commands.add_parser(name, parents=[parser_of(name)] if chosen else [], add_help=not chosen)
    argcomplete.autocomplete(top)


def completion_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "tabserve completion",
        description="Print the script that makes a shell complete tabserve words. "
        'bash, zsh: eval "$(tabserve completion bash)"; fish: tabserve completion fish | source.',
    )
    parser.add_argument("shell", choices=SHELLS)
    return parser


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of one subcommand. Only the subcommand's package is imported."""
    if name == "completion":
        return completion_parser()
    command = COMMANDS[name]
    parser: argparse.ArgumentParser = importlib.import_module(f"{command.package}.__main__").PARSERS[
        command.subcommand
    ]()
    return parser
