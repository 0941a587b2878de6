"""Leftovers of a killed training run are removed and reported; folders in use are not touched."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bentoml
import pytest

from models import store, unfinished_folder
from models.store_repair import repair_store
from models.version_files import TrainedVersion

Make = Callable[..., TrainedVersion]
ROOT = Path(__file__).resolve().parents[2]
LEFT_OVER = """
import os, signal, sys
from pathlib import Path
from models.unfinished_folder import unfinished_folder
with unfinished_folder(Path(sys.argv[1])) as folder:
    (folder / "features.json").write_text("{")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def two_versions(bentoml_store: Path, make_trained: Make) -> Path:
    """The folder of homes:1 and homes:2."""
    for _ in range(2):
        store.save(make_trained())
    return bentoml_store / "homes"


def test_intact_store_is_not_changed(two_versions: Path) -> None:
    before = (two_versions / "latest").stat()
    assert repair_store(two_versions.parent) == []
    assert (two_versions / "latest").stat() == before


@pytest.mark.parametrize(
    ("content", "reason"), [("", "was empty"), ("\n", "was empty"), ("1", "named '1'"), ("7", "named '7'")]
)
def test_latest_names_the_newest_version(two_versions: Path, content: str, reason: str) -> None:
    (two_versions / "latest").write_text(content)
    [repair] = repair_store(two_versions.parent)
    assert f"homes/latest {reason} and now names 2" in repair
    assert str(bentoml.models.get("homes:latest").tag) == "homes:2"
    assert repair_store(two_versions.parent) == []


def test_newest_version_is_the_last_created_version(two_versions: Path) -> None:
    """BentoML's latest version, even if an older version was imported with a higher number."""
    description = two_versions / "2" / "model.yaml"
    lines = description.read_text().splitlines(keepends=True)
    created = ["creation_time: '2001-01-01T00:00:00+00:00'\n" if "creation_time" in line else line for line in lines]
    description.write_text("".join(created))
    (two_versions / "latest").write_text("")
    [repair] = repair_store(two_versions.parent)
    assert "now names 1" in repair


def test_missing_latest_stays_missing(two_versions: Path) -> None:
    """BentoML writes this file when it needs it; a folder of models need not be BentoML's store."""
    (two_versions / "latest").unlink()
    assert repair_store(two_versions.parent) == []
    assert not (two_versions / "latest").exists()


def test_folder_of_a_killed_process_is_removed(bentoml_store: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_OVER, str(bentoml_store)], cwd=ROOT, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert len(list(bentoml_store.iterdir())) == 1
    assert store.versions() == ({}, [])
    assert bentoml.models.list() == []
    [repair] = repair_store(bentoml_store)
    assert repair.startswith("removed 1 unfinished version(s)")
    assert list(bentoml_store.iterdir()) == []


def test_folder_in_use_is_not_removed(bentoml_store: Path) -> None:
    with unfinished_folder.unfinished_folder(bentoml_store) as folder:
        assert repair_store(bentoml_store) == []
        assert folder.is_dir()
        assert bentoml.models.list() == []
    assert list(bentoml_store.iterdir()) == []


@pytest.mark.parametrize(("age_days", "left"), [(0, 1), (2, 0)])
def test_without_locks_only_old_folders_are_removed(
    bentoml_store: Path, monkeypatch: pytest.MonkeyPatch, age_days: int, left: int
) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    folder = bentoml_store / f"{unfinished_folder.PREFIX}1"
    folder.mkdir()
    then = time.time() - age_days * 86_400 - 60
    os.utime(folder, (then, then))
    assert len(repair_store(bentoml_store)) == 1 - left
    assert len(list(bentoml_store.iterdir())) == left


def test_read_only_store_is_not_changed(two_versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (two_versions / "latest").write_text("")

    def read_only(*arguments: object) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(os, "replace", read_only)
    assert repair_store(two_versions.parent) == []
