"""Stored versions and `serving.json` agree after promotions, rollbacks and deletions."""

import shutil
from collections.abc import Callable
from pathlib import Path

import bentoml
import pytest

from models import audit, manifest, serving_changes, store
from models.serving_file import SERVING_FILE
from models.serving_state import ChangeRefused, ModelState, ServingStateError
from models.version_files import StoreError, TrainedVersion
from models.version_lifecycle import VersionStore


@pytest.fixture
def versions(bentoml_store: Path, make_trained: Callable[..., TrainedVersion]) -> VersionStore:
    """A store with homes:1 to homes:4."""
    folder = store.save(make_trained()).path
    for version in range(2, 5):
        shutil.copytree(folder, folder.parent / str(version))
    return VersionStore()


def numbers(versions: VersionStore) -> list[int]:
    return [stored.version for stored in store.versions(versions.folder)[0].get("homes", [])]


def state_of(versions: VersionStore) -> ModelState:
    return versions.serving.read().model("homes")


def test_promotion_remembers_the_version_that_was_served_before(versions: VersionStore) -> None:
    versions.promote(versions.find("homes", 2), by_person=True, reason="better")
    assert (state_of(versions).champion, state_of(versions).history) == (2, (4,))
    [entry] = audit.read(versions.serving.folder)
    assert (entry["action"], entry["reason"]) == ("promote", "better")
    assert entry["manifest"] == manifest.digest(versions.find("homes", 2).path)
    assert "@" in entry["actor"]


def test_rollback_without_a_champion_serves_the_version_before_the_newest(versions: VersionStore) -> None:
    state, target = versions.rollback_target("homes")
    assert target.version == 3
    versions.rollback(target, expected=state.generation)
    assert (state_of(versions).champion, state_of(versions).rolled_back) == (3, 4)
    state, target = versions.rollback_target("homes")
    before, after = versions.rollback(target)
    assert before == after
    assert target.version == 3


def test_version_that_was_deleted_in_the_meantime_is_not_promoted(versions: VersionStore) -> None:
    stored = versions.find("homes", 2)
    versions.delete(stored)
    with pytest.raises(ChangeRefused, match="homes:2 was deleted meanwhile"):
        versions.promote(stored, by_person=True)


def test_version_with_an_alias_is_not_deleted(versions: VersionStore) -> None:
    versions.promote(versions.find("homes", 2), by_person=True)
    versions.change("alias", "homes", lambda state: serving_changes.set_alias(state, "beta", 1))
    for version, alias in ((2, "champion"), (1, "beta")):
        with pytest.raises(ChangeRefused, match=f"version {version} is {alias} and cannot be deleted"):
            versions.delete(versions.find("homes", version))
    assert numbers(versions) == [4, 3, 2, 1]


def test_deleted_version_is_removed_from_store_and_history(versions: VersionStore) -> None:
    for version in (2, 3):
        versions.promote(versions.find("homes", version), by_person=True)
    versions.delete(versions.find("homes", 2))
    assert (numbers(versions), state_of(versions).history) == ([4, 3, 1], (4,))
    assert len(bentoml.models.list("homes")) == 3


def test_deleted_model_is_removed_from_store_and_serving_file(versions: VersionStore) -> None:
    versions.promote(versions.find("homes", 2), by_person=True)
    assert len(versions.delete_model("homes")) == 4
    assert (store.versions(versions.folder), bentoml.models.list()) == (({}, []), [])
    assert versions.serving.read().models == {}
    assert [entry["action"] for entry in audit.read(versions.serving.folder)] == ["promote", "delete"]


def test_prune_keeps_the_newest_and_the_served_versions(versions: VersionStore) -> None:
    for version in (3, 2, 1):
        versions.promote(versions.find("homes", version), by_person=True)
    assert [stored.version for stored in versions.prune("homes", 1)] == [3]
    assert numbers(versions) == [4, 2, 1]
    assert versions.prune("homes", 1) == []


def test_prune_without_a_champion_keeps_the_version_of_a_rollback(versions: VersionStore) -> None:
    assert [stored.version for stored in versions.prune("homes", 1)] == [2, 1]
    assert versions.rollback_target("homes")[1].version == 3


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [("homs", 1, "did you mean 'homes'"), ("homes", 7, "stored versions: 4, 3, 2, 1"), ("x", 1, "no model 'x'")],
)
def test_missing_version_is_named_with_those_that_exist(
    versions: VersionStore, name: str, version: int, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        versions.find(name, version)


def test_setting_selects_the_store(versions: VersionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = versions.serving.folder
    monkeypatch.setenv("TABSERVE_STORE", f"{home}")
    configured = VersionStore.configured()
    assert (configured.serving.folder, numbers(configured)) == (home.resolve(), [4, 3, 2, 1])
    configured.delete(configured.find("homes", 1))
    assert numbers(versions) == [4, 3, 2]
    monkeypatch.setenv("TABSERVE_STORE", str(tmp_path / "missing"))
    with pytest.raises(ServingStateError, match="no such folder"):
        VersionStore.configured()


def test_all_paths_of_a_store_share_one_serving_file(versions: VersionStore, bentoml_store: Path) -> None:
    home = bentoml_store.parent
    (home / "bentos").mkdir(exist_ok=True)
    named = [VersionStore(), VersionStore(home), VersionStore(bentoml_store)]
    for one, version in zip(named, (2, 3, 1), strict=True):
        one.promote(one.find("homes", version), by_person=True)
        assert {other.serving.read().model("homes").champion for other in named} == {version}
    assert not (bentoml_store / SERVING_FILE).exists()


def test_serving_file_in_the_folder_of_models_is_used_for_all_paths(
    versions: VersionStore, bentoml_store: Path
) -> None:
    """A server in a container has only the mounted folder of models."""
    home = bentoml_store.parent
    versions.promote(versions.find("homes", 2), by_person=True)
    (home / SERVING_FILE).rename(bentoml_store / SERVING_FILE)
    for one in (VersionStore(), VersionStore(home), VersionStore(bentoml_store)):
        assert one.serving.read().model("homes").champion == 2


def test_two_serving_files_of_a_store_are_refused(versions: VersionStore, bentoml_store: Path) -> None:
    home = bentoml_store.parent
    versions.promote(versions.find("homes", 2), by_person=True)
    shutil.copy(home / SERVING_FILE, bentoml_store / SERVING_FILE)
    for one in (VersionStore(), VersionStore(home), VersionStore(bentoml_store)):
        with pytest.raises(ServingStateError, match="both specify which versions are served"):
            one.promote(one.find("homes", 3), by_person=True)


def test_folder_outside_a_bentoml_home_has_its_own_serving_file(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    assert store.serving_folder(tmp_path / "models") == tmp_path / "models"
    assert store.serving_folder(tmp_path) == tmp_path
