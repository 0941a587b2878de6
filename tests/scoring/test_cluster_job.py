"""Tests the code for cluster engines without an engine; `make cluster-check` runs jobs on real engines."""

import importlib.util
from pathlib import Path

import pytest

from models import manifest
from models.version_files import StoredVersion
from scoring.batch_scorer import BatchScorer
from scoring.version_archive import VersionArchive
from tests.scoring.conftest import Run
from tests.scoring.tables import STORE


@pytest.mark.parametrize(("engine", "library"), [("spark", "pyspark"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_is_named(
    engine: str,
    library: str,
    run: Run,
    table: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == library else find_spec(name))
    assert run([table], "--engine", engine) == 2
    assert f"pip install 'tabserve[{engine}]'" in capsys.readouterr().err


def test_archive_of_a_version_can_be_loaded() -> None:
    stored = StoredVersion("stars", 2, STORE / "stars" / "2")
    archive = VersionArchive.from_version(stored)
    with archive.unpacked() as folder:
        scorer = BatchScorer.load(folder)
        assert manifest.files_digest(folder) == manifest.files_digest(stored.path)
    assert scorer.model.tag == "stars:2"
    assert not folder.exists()
