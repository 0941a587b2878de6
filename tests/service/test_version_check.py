"""Versions are checked in a child process, whose failures do not affect the caller and are reported with a reason."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models import store, version_files
from models.version_files import EngineUnavailable, StoredVersion, StoreError
from service import version_check
from service.settings import Settings
from service.version_check import check_in_child, describe, load_with_check, needs_tensorflow
from tests.service.conftest import random_version, schemas

SETTINGS = Settings()


@pytest.fixture
def stored(tmp_path: Path) -> StoredVersion:
    folder = tmp_path / "income" / "1"
    folder.mkdir(parents=True)
    version_files.write(folder, random_version(schemas()[1]))
    return store.versions(tmp_path)[0]["income"][0]


def test_a_version_with_a_network_needs_no_tensorflow(stored: StoredVersion) -> None:
    assert not needs_tensorflow(stored, SETTINGS)
    assert not needs_tensorflow(stored, Settings(engine="numpy"))
    assert not needs_tensorflow(stored, Settings(engine="tensorflow")), "it has no Keras model"
    (stored.path / "model.keras").touch()
    assert needs_tensorflow(stored, Settings(engine="tensorflow"))
    description = json.loads((stored.path / "network.json").read_text())
    (stored.path / "network.json").write_text(json.dumps({**description, "network": None}))
    assert needs_tensorflow(stored, SETTINGS)
    (stored.path / "network.json").write_text("{")
    assert not needs_tensorflow(stored, SETTINGS), "loading the version reports the damage"


def test_the_child_process_reports_the_engine(stored: StoredVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stored.path)
    stored = replace(stored, path=Path())  # a relative path, while the child runs in another folder
    assert check_in_child(stored) == {"name": "numpy", "reason": "trained by NumPy"}


def test_a_described_version_has_its_schema_and_no_engine(
    stored: StoredVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_check, "needs_tensorflow", lambda stored, settings: True)
    model = describe(stored, SETTINGS)
    assert (model.engine.name, model.engine.reason) == ("numpy", "trained by NumPy")
    assert model.schema == store.load(stored).schema
    with pytest.raises(RuntimeError, match="has not loaded the engine"):
        model.predict_rows(model.golden.rows)


def test_the_reason_of_a_damaged_version_is_reported(stored: StoredVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_check, "needs_tensorflow", lambda stored, settings: True)
    (stored.path / "golden.json").write_text("{")
    for load in (describe, load_with_check):
        with pytest.raises(StoreError, match=r"its file golden.json was altered"):
            load(stored, SETTINGS)


def test_an_engine_that_is_not_available_is_reported(stored: StoredVersion) -> None:
    description = json.loads((stored.path / "network.json").read_text())
    (stored.path / "network.json").write_text(json.dumps({**description, "network": None, "reason": "a lambda"}))
    (stored.path / "manifest.json").unlink()
    with pytest.raises(EngineUnavailable, match=r"income:1: it has no NumPy network \(a lambda\)"):
        check_in_child(stored, "numpy")


@pytest.mark.parametrize(
    ("script", "reason"),
    [("kill -9 $$", "signal 9"), ("echo much; exit 3", "exit code 3"), ("echo '[]'; exit 0", "exit code 0")],
)
def test_an_unexpected_end_of_the_child_is_an_error(
    stored: StoredVersion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(StoreError, match=f"the process that checked it ended with {reason}"):
        check_in_child(stored)
