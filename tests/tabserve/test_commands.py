"""`tabserve` has a subcommand for each command line of the packages, with help, errors and completion."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import training.__main__
from models import command_line
from tabserve.__main__ import main
from tabserve.commands import COMMANDS, Command

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(COMMANDS)


@pytest.mark.parametrize("name", NAMES)
def test_help_names_the_command_as_the_user_typed_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: tabserve {name} ")


@pytest.mark.parametrize("package", sorted({command.package for command in COMMANDS.values()}))
def test_every_subcommand_of_a_package_is_a_command_of_tabserve(package: str) -> None:
    parsers = importlib.import_module(f"{package}.__main__").PARSERS
    assert set(parsers) == {command.subcommand for command in COMMANDS.values() if command.package == package}


@pytest.mark.parametrize(
    ("words", "program"),
    [
        (["train", "--epoches", "3"], "tabserve train"),
        (["inspect", "--epoches", "3"], "tabserve inspect"),
        (["list", "--all"], "tabserve list"),
        (["delete"], "tabserve delete"),
        (["serve", "--port", "http"], "tabserve serve"),
        (["serve", "--port", "0"], "tabserve serve"),
        (["load"], "tabserve load"),
        (["load", "run", "--rate", "0"], "tabserve load run"),
        (["load", "bench", "engines", "--rounds", "0"], "tabserve load bench engines"),
        (["completion", "cmd"], "tabserve completion"),
        (["trian"], "tabserve"),
        ([], "tabserve"),
    ],
    ids=" ".join,
)
def test_usage_error_of_every_command_is_one_line_that_names_its_help(
    words: list[str], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert re.fullmatch(rf"error: .+ \(see {program} --help\)\n", capsys.readouterr().err)


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n    {name} " in text for name in NAMES)


@pytest.mark.parametrize("checkout", [True, False])
def test_missing_library_is_a_one_line_error_with_the_install_command(
    checkout: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "is_checkout", lambda: checkout)
    monkeypatch.setattr(training.__main__, "main", lambda words, program: importlib.import_module("nosuch.part"))
    assert main(["inspect", "penguins"]) == 2
    install = "make setup-development" if checkout else "pip install 'tabserve[training]'"
    assert capsys.readouterr().err == f"error: the library nosuch is not installed; install it with: {install}\n"


def test_missing_module_of_the_project_is_not_reported_as_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "broken", Command("training.no_such_module", "", extra="training"))
    with pytest.raises(ModuleNotFoundError):
        main(["broken"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "tabserve" in script
    assert "_ARGCOMPLETE" in script


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tabserve tr", {"train "}),
        ("tabserve train --tune", {"--tune "}),
        ("tabserve train --activation s", {"sigmoid", "silu", "softplus"}),
        ("tabserve completion ", {"bash", "zsh", "fish", "-h", "--help"}),
    ],
)
def test_completion_proposes_commands_options_and_values(line: str, expected: set[str]) -> None:
    environment = os.environ | {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout",
    }
    command = [sys.executable, "-m", "tabserve"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert set(done.stdout.split("\n")) - {""} == expected, done.stderr
