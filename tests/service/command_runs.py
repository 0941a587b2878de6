"""Runs commands of `python -m service` in the test process."""

from collections.abc import Callable

import pytest

from service.__main__ import main

Command = Callable[..., tuple[int, str, str]]


def command_runner(capsys: pytest.CaptureFixture[str], *first: str) -> Command:
    """A function that runs a command and returns its exit code, output and errors. first: the first words of every
    command.
    """

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*first, *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
