"""Workers load copies of the served versions when the store is missing."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from service import local_copies
from service.model_selection import SelectionError, select_models
from service.settings import Settings

RECORDED = Path(__file__).resolve().parents[1] / "recorded" / "store"
TAGS = ("stars:1", "flags:1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of a worker with the versions that its supervisor has selected."""
    shutil.copytree(RECORDED, tmp_path / "store")
    return Settings(store=tmp_path / "store", models=TAGS)


def loaded_versions(settings: Settings, folder: Path | None) -> list[str]:
    return [model.tag for model in local_copies.select_models(settings, select_models, folder)]


def test_copies_are_loaded_after_the_store_is_deleted(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    assert loaded_versions(settings, shared) == [*TAGS]
    assert loaded_versions(settings, shared) == [*TAGS]  # loaded from the copies
    assert {path.name for path in (shared / "models").iterdir()} == {"stars", "flags"}
    assert [path.name for path in (shared / "models" / "stars").iterdir()] == ["1"]
    assert settings.store
    shutil.rmtree(settings.store / "stars")
    assert loaded_versions(settings, shared) == [*TAGS]
    shutil.rmtree(settings.store)
    assert loaded_versions(settings, shared) == [*TAGS]
    assert "the store fails" in caplog.text


def test_without_copies_a_missing_store_is_an_error(settings: Settings, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(SelectionError, match="there is no model 'other'"):
            local_copies.select_models(replace(settings, models=("other:1",)), select_models, folder)


def test_missing_space_for_copies_causes_a_warning(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(source: str, target: str) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(local_copies, "link_or_copy", no_space)
    shared = tmp_path / "shared"
    shared.mkdir()
    assert loaded_versions(settings, shared) == [*TAGS]
    assert [record.getMessage() for record in caplog.records] == ["workers can be replaced only while the store works"]
    assert not list((shared / "models").glob("*/*"))


def test_files_are_copied_if_they_cannot_be_linked(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_link(source: str, target: str) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr("os.link", fail_to_link)
    loaded_versions(settings, tmp_path)
    assert settings.store
    shutil.rmtree(settings.store)
    assert loaded_versions(settings, tmp_path) == [*TAGS]


def test_a_configured_store_that_is_missing_is_replaced_by_the_copies(tmp_path: Path) -> None:
    for configured, copies, expected in (
        (tmp_path / "gone", False, tmp_path / "gone"),
        (tmp_path / "gone", True, tmp_path / "models"),
        (tmp_path, True, tmp_path),
    ):
        (tmp_path / "models").mkdir(exist_ok=True)
        if not copies:
            (tmp_path / "models").rmdir()
        environ = {"TABSERVE_STORE": str(configured)}
        missing = local_copies.replace_missing_store(environ, tmp_path)
        assert missing == (None if configured == expected else str(configured))
        assert environ == {"TABSERVE_STORE": str(expected)}
    unset: dict[str, str] = {}
    local_copies.replace_missing_store(unset, tmp_path)
    assert unset == {}
