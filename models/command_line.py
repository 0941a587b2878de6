"""Code shared by all commands: the format of usage errors, and the message for a missing library."""

import argparse
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]


class CommandParser(argparse.ArgumentParser):
    """Reports a usage error in one line, `error: …`, which refers to `--help`, and exits with code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def missing_library(name: str, extra: str) -> str:
    """The error message for a library that is not installed: one line with the command that installs it.

    name: the library. extra: the extra of the package that contains it, such as `loadtest`.
    """
    install = "make setup-development" if is_checkout() else f"pip install 'tabserve[{extra}]'"
    return f"the library {name} is not installed; install it with: {install}"


def is_checkout() -> bool:
    return (ROOT / "requirements" / "install.sh").is_file()
