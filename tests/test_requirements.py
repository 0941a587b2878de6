"""Hooked libraries have upper bounds and are locked; `make upgrade-check` says which hooks would break."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from requirements import upgrade_check
from service.server.library_hooks import all_hooks

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.mark.parametrize("library", all_hooks.LIBRARIES)
def test_a_hooked_library_is_bounded_by_its_next_minor_version(library: str) -> None:
    (requirement,) = [each for each in map(Requirement, PROJECT["dependencies"]) if each.name == library]
    locked = Version(upgrade_check.locked_versions()[library])
    assert locked in requirement.specifier
    assert Version(f"{locked.major}.{locked.minor + 1}") not in requirement.specifier
    assert Version(f"{locked.major + 1}.0") not in requirement.specifier


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda lock: lock.stem)
def test_a_lock_names_no_registry(lock: Path) -> None:
    assert not re.search(r"https?://|--index-url|--extra-index-url|--find-links", lock.read_text("utf-8"))


def test_the_table_of_an_upgrade_names_the_hooks_that_would_break() -> None:
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
