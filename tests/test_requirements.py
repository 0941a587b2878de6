"""Hooked libraries have upper bounds and are locked; `make upgrade-check` says which hooks would break."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from requirements import upgrade_check
from service.server.library_hooks import all_hooks
from tests.child_processes import kill_at_exit

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.mark.parametrize("library", all_hooks.LIBRARIES)
def test_hooked_library_is_bounded_by_its_next_minor_version(library: str) -> None:
    (requirement,) = [each for each in map(Requirement, PROJECT["dependencies"]) if each.name == library]
    locked = Version(upgrade_check.locked_versions()[library])
    assert locked in requirement.specifier
    assert Version(f"{locked.major}.{locked.minor + 1}") not in requirement.specifier
    assert Version(f"{locked.major + 1}.0") not in requirement.specifier


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda lock: lock.stem)
def test_lock_file_names_no_package_registry(lock: Path) -> None:
    assert not re.search(r"https?://|--index-url|--extra-index-url|--find-links", lock.read_text("utf-8"))


FAKE_PIP = """#!/bin/sh
[ "$1" = -m ] || exit 0
echo Collecting a
echo Collecting b
until [ -e go ]; do sleep 0.1; done
echo Installing collected packages: a, b
until [ -s go-on ]; do sleep 0.1; done
exit $(cat go-on)
"""


@pytest.mark.parametrize("status", [0, 1])
def test_installation_reports_its_progress(tmp_path: Path, status: int) -> None:
    (tmp_path / "requirements").mkdir()
    shutil.copy(ROOT / "requirements/install.sh", tmp_path / "requirements")
    (tmp_path / "requirements/x.lock").write_text("a==1 \\\n    --hash=sha256:0\nb==2\nc==3\n")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PIP)
    python.chmod(0o755)
    command = ["sh", str(tmp_path / "requirements/install.sh"), "x"]
    environment = {**os.environ, "PROGRESS_S": "1"}
    with kill_at_exit(
        subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    ) as process:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        assert next(lines).startswith("installing the 3 packages of requirements/x.lock")
        assert any(line.endswith("s: 2 of 3 packages downloaded\n") for line in lines)
        (tmp_path / "go").touch()
        assert any(line.endswith("are now being installed\n") for line in lines)
        (tmp_path / "go-on").write_text(str(status))
        rest = process.stdout.read()
        assert process.wait(60) == status
    assert ("could not install" in rest) == bool(status)
    assert (tmp_path / ".venv/.x").exists() == (not status)


def test_table_of_upgrade_check_names_the_broken_hooks() -> None:
    def hook(name: str, problem: str | None) -> dict[str, Any]:
        return {"name": name, "library": "uvicorn", "breaks": "It hangs.", "problem": problem}

    lines = upgrade_check.table(
        [hook("a", None), hook("b", "it was renamed")], {"uvicorn": "0.54.0"}, {"uvicorn": "0.55.0"}
    )
    assert [line.split() for line in lines] == [
        ["library", "locked", "newest", "hooks", "that", "would", "break"],
        ["uvicorn", "0.54.0", "0.55.0", "1", "of", "2"],
        ["b:", "it", "was", "renamed"],
        ["It", "hangs."],
    ]
