"""Runs commands of `python -m service` in the process of a test."""

from collections.abc import Callable

import pytest

from service.__main__ import main

Command = Callable[..., tuple[int, str, str]]


def command_runner(capsys: pytest.CaptureFixture[str], *first: str) -> Command:
    """A function of the words of a command: exit code, output and errors. first: words before those of each call."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*first, *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
