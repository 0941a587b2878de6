"""Versions and `serving.json` in an object store. The tests use a store in memory, which has the same rules.

`make store-check` tests a server with the S3 protocol.
"""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models import audit, manifest, mirror_sync, store
from models.mirror_plan import MirrorSelection
from models.mirror_sync import MirrorSync, reported_problem
from models.object_store import ConditionFailed, ObjectStore, ObjectStoreError, StoreUnreachable, open_object_store
from models.remote_audit import FOLDER
from models.serving_file import SERVING_FILE, GenerationMismatch, ServingFile
from models.serving_state import ChangeRefused, ServingStateError
from models.store_mirror import BYTES_VARIABLE, FOLDER_VARIABLE, StoreMirror
from models.version_files import StoreError, TrainedVersion
from models.version_lifecycle import VersionStore
from models.version_upload import push

ALL = MirrorSelection()


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VersionStore:
    """An empty store at a URL."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("TABSERVE_STORE", f"memory:///{uuid.uuid4().hex}")
    return VersionStore.configured()


@pytest.fixture
def mirror(remote: VersionStore) -> StoreMirror:
    assert remote.mirror
    return remote.mirror


@pytest.fixture
def local(bentoml_store: Path, make_trained: Callable[..., TrainedVersion]) -> VersionStore:
    """A local store with homes:1 to homes:3, whose contents differ."""
    folder = store.save(make_trained()).path
    for version in ("2", "3"):
        copy = folder.parent / version
        shutil.copytree(folder, copy)
        (copy / "card.md").write_text(f"# version {version}\n", encoding="utf-8")
        manifest.write(copy)
    return VersionStore()


@pytest.fixture
def pushed(local: VersionStore, remote: VersionStore, mirror: StoreMirror) -> VersionStore:
    """The store at a URL with homes:1 to homes:3."""
    for version in (1, 2, 3):
        push(local.find("homes", version), mirror)
    return remote


def numbers(versions: VersionStore) -> list[int]:
    return [stored.version for stored in versions.all_versions().get("homes", [])]


def copied(mirror: StoreMirror) -> list[int]:
    return sorted(stored.version for stored in mirror.copies())


def champion(folder: Path) -> int | None:
    return ServingFile(folder).read().model("homes").champion


def test_pushed_version_is_the_same_model_under_the_next_number(
    local: VersionStore, pushed: VersionStore, mirror: StoreMirror
) -> None:
    assert numbers(pushed) == [3, 2, 1]
    (one, is_new) = push(local.find("homes", 2), mirror)
    assert (one.version, is_new) == (2, False), "the same content is stored only once"
    found = pushed.find("homes", 3)
    assert store.load(found).version == "3"
    assert (found.path / "card.md").read_text() == "# version 3\n"


def test_pushed_version_gets_the_next_unused_number_of_the_store(
    local: VersionStore, pushed: VersionStore, mirror: StoreMirror
) -> None:
    pushed.delete(pushed.find("homes", 3))
    assert numbers(pushed) == [2, 1]
    one, is_new = push(local.find("homes", 3), mirror)
    assert (one.version, is_new) == (4, True)
    assert store.load(pushed.find("homes", 4)).version == "4"
    assert "version: '4'" in (one.path / "model.yaml").read_text()


def test_a_version_without_its_manifest_is_not_read(pushed: VersionStore, mirror: StoreMirror) -> None:
    mirror.objects.delete(["homes/3/manifest.json"])
    assert numbers(pushed) == [2, 1]
    with pytest.raises(StoreError, match="there is no homes:3"):
        pushed.find("homes", 3)
    MirrorSync(mirror, ALL).fill()
    assert copied(mirror) == [1, 2]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "added"])
def test_a_damaged_version_is_not_copied_and_the_reason_is_reported(
    pushed: VersionStore, mirror: StoreMirror, damage: str
) -> None:
    pushed.promote(pushed.find("homes", 2), by_person=True)
    MirrorSync(mirror, ALL).fill()
    shutil.rmtree(mirror.folder / "models" / "homes" / "3")
    content = mirror.objects.get("homes/3/weights.npz")
    assert content
    if damage == "missing":
        mirror.objects.delete(["homes/3/weights.npz"])
    elif damage == "added":
        mirror.objects.put("homes/3/other.json", b"{}")
    else:
        changed = bytearray(content.content[: None if damage == "flipped" else -1])
        changed[100] ^= 1
        mirror.objects.put("homes/3/weights.npz", bytes(changed))
    with pytest.raises(StoreError, match=r"homes:3 in memory:.* is not used: its file"):
        pushed.find("homes", 3)
    assert not (mirror.folder / "models" / "homes" / "3").exists()
    assert list((mirror.folder / "models").glob("unfinished-*")) == []


def test_serving_json_is_copied_after_the_versions_that_it_names(pushed: VersionStore, mirror: StoreMirror) -> None:
    sync = MirrorSync(mirror, ALL)
    sync.fill()
    assert champion(mirror.folder) is None
    pushed.promote(pushed.find("homes", 1), by_person=True)
    shutil.rmtree(mirror.folder / "models" / "homes")
    sync.poll()
    assert (champion(mirror.folder), copied(mirror)) == (1, [1, 2, 3])
    assert reported_problem(mirror.folder) == ""


def test_version_that_cannot_be_copied_delays_serving_json(
    pushed: VersionStore, mirror: StoreMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_sync, "RETRY_S", 0.0)
    sync = MirrorSync(mirror, ALL)
    pushed.promote(pushed.find("homes", 1), by_person=True)
    sync.fill()
    pushed.promote(pushed.find("homes", 2), by_person=True)
    shutil.rmtree(mirror.folder / "models" / "homes" / "2")
    mirror.objects.put("homes/2/weights.npz", b"no archive")
    sync.poll()
    assert champion(mirror.folder) == 1
    assert "homes:2" in reported_problem(mirror.folder)
    monkeypatch.setattr(mirror_sync, "HOLD_BACK_S", 0.0)
    sync.poll()
    assert champion(mirror.folder) == 2, "other models are not held back forever"
    assert "homes:2" in reported_problem(mirror.folder)


def test_version_that_fails_again_later_delays_serving_json_again(
    pushed: VersionStore, mirror: StoreMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(mirror_sync, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    sync = MirrorSync(mirror, ALL)
    versions = {number: pushed.find("homes", number) for number in (1, 2, 3)}
    pushed.promote(versions[1], by_person=True)
    sync.fill()
    shutil.rmtree(versions[2].path)
    mirror.objects.put("homes/2/weights.npz", b"no archive")
    followed = []
    for number in (2, 1, 3, 2):  # while homes:1 is served, homes:2 is needed for a rollback; with homes:3 it is not
        pushed.promote(versions[number], by_person=True)
        sync.poll()
        followed.append(champion(mirror.folder))
        clock[0] += 3600
    assert followed == [1, 1, 3, 3]


def test_unreachable_store_is_reported_and_the_copy_remains(
    pushed: VersionStore, mirror: StoreMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = MirrorSync(mirror, ALL)
    pushed.promote(pushed.find("homes", 2), by_person=True)
    sync.fill()

    def fail(*_: object) -> None:
        raise StoreUnreachable("no response")

    with monkeypatch.context() as unreachable:
        unreachable.setattr(ObjectStore, "_get", fail)
        sync.poll()
        assert reported_problem(mirror.folder) == "no response"
        assert (champion(mirror.folder), copied(mirror)) == (2, [1, 2, 3])
        MirrorSync(mirror, ALL).fill()  # this start uses the copy of an earlier start
        shutil.rmtree(mirror.folder / "models")
        (mirror.folder / "models").mkdir()
        with pytest.raises(StoreUnreachable):
            MirrorSync(mirror, ALL).fill()
    sync.poll()
    assert reported_problem(mirror.folder) == ""


def test_emptied_store_or_invalid_serving_json_leaves_the_copy(pushed: VersionStore, mirror: StoreMirror) -> None:
    sync = MirrorSync(mirror, ALL)
    pushed.promote(pushed.find("homes", 2), by_person=True)
    sync.fill()
    mirror.objects.put(SERVING_FILE, b'{"format": 1, "generation": 9, "mod')
    sync.poll()
    assert "is not valid" in reported_problem(mirror.folder)
    mirror.objects.delete([each.name for each in mirror.objects.list()])
    sync.poll()
    assert "there is no model in memory:" in reported_problem(mirror.folder)
    assert (champion(mirror.folder), copied(mirror)) == (2, [1, 2, 3])


def test_copy_is_bounded_and_contains_the_served_versions(
    pushed: VersionStore, mirror: StoreMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = next(one.size for one in mirror.remote.list().versions["homes"])
    monkeypatch.setenv(BYTES_VARIABLE, str(int(size * 2.5)))
    small = StoreMirror(mirror.folder, mirror.url, int(size * 2.5))
    pushed.promote(pushed.find("homes", 1), by_person=True)
    pushed.promote(pushed.find("homes", 2), by_person=True)
    MirrorSync(small, ALL).fill()
    assert copied(mirror) == [1, 2], "the champion and the version that a rollback would serve"
    tiny = StoreMirror(mirror.folder, mirror.url, int(size * 0.5))
    shutil.rmtree(mirror.folder / "models" / "homes" / "2")
    MirrorSync(tiny, ALL).fill()
    assert "does not fit" in reported_problem(mirror.folder)


def test_a_damaged_copy_is_replaced_at_the_start(pushed: VersionStore, mirror: StoreMirror) -> None:
    MirrorSync(mirror, ALL).fill()
    file = mirror.folder / "models" / "homes" / "3" / "weights.npz"
    file.write_bytes(file.read_bytes()[:-1])
    MirrorSync(mirror, ALL).fill()
    assert store.load(pushed.find("homes", 3)).version == "3"


def test_new_upload_under_a_known_number_is_copied(
    local: VersionStore, pushed: VersionStore, mirror: StoreMirror
) -> None:
    MirrorSync(mirror, ALL).fill()
    mirror.objects.delete([each.name for each in mirror.objects.list("homes/3")])
    mirror.remote.upload("homes", 3, local.find("homes", 2).path)
    MirrorSync(mirror, ALL).fill()
    assert (mirror.folder / "models" / "homes" / "3" / "card.md").read_text() == "# version 2\n"


def test_second_of_two_concurrent_changes_is_refused(
    pushed: VersionStore, mirror: StoreMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pushed.find("homes", 1), pushed.find("homes", 2)
    original = ObjectStore.create

    def create_after_another_change(self: ObjectStore, name: str, content: bytes) -> None:
        monkeypatch.setattr(ObjectStore, "create", original)
        if name == SERVING_FILE:
            pushed.promote(other, by_person=True)
        original(self, name, content)

    monkeypatch.setattr(ObjectStore, "create", create_after_another_change)
    with pytest.raises(GenerationMismatch, match="the generation is 1, not 0"):
        pushed.promote(one, by_person=True)
    assert pushed.serving.read().model("homes").champion == 2
    report = pushed.serving.verify()
    assert (report.lines, report.problems, report.notes) == (1, [], [])
    with pytest.raises(GenerationMismatch):
        pushed.promote(one, by_person=True, expected=0)


def test_the_audit_is_a_chain_of_objects(pushed: VersionStore, mirror: StoreMirror) -> None:
    for version in (1, 2, 3):
        pushed.promote(pushed.find("homes", version), by_person=True, reason=f"try {version}")
    pushed.delete(pushed.find("homes", 1))
    entries = list(pushed.serving.entries())
    assert [entry["action"] for entry in entries] == ["promote", "promote", "promote", "delete"]
    assert [entry["generation"] for entry in pushed.serving.entries(2)] == [3, 4]
    assert pushed.serving.verify() == audit.AuditReport(4)
    orphan = audit.encode({**entries[-1], "generation": 5, "prev": "0" * 64})
    mirror.objects.put(f"{FOLDER}/0000000005-{'0' * 16}.json", orphan)
    assert "1 entry belongs to refused" in pushed.serving.verify().notes[0]
    second = mirror.objects.list(FOLDER)[1]
    mirror.objects.put(second.name, audit.encode({**entries[1], "reason": "another"}))
    assert "were removed" in pushed.serving.verify().problems[0]


def test_change_with_a_lost_response_is_recognised_as_made(
    pushed: VersionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ObjectStore.create

    def create_then_lose_response(self: ObjectStore, name: str, content: bytes) -> None:
        original(self, name, content)
        raise StoreUnreachable("the connection was closed")

    monkeypatch.setattr(ObjectStore, "create", create_then_lose_response)
    assert pushed.promote(pushed.find("homes", 2), by_person=True)[1].generation == 1

    def refuse_connection(self: ObjectStore, name: str, content: bytes, known: Any) -> None:
        raise StoreUnreachable("the connection was refused")

    monkeypatch.setattr(ObjectStore, "replace", refuse_connection)
    with pytest.raises(ServingStateError, match="was not changed"):
        pushed.promote(pushed.find("homes", 3), by_person=True)
    assert pushed.serving.read().model("homes").champion == 2
    assert pushed.serving.verify().problems == []


def test_store_that_ignores_conditional_writes_is_read_only(
    pushed: VersionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ObjectStore._put
    monkeypatch.setattr(
        ObjectStore, "_put", lambda self, name, content, mode: original(self, name, content, "overwrite")
    )
    monkeypatch.setattr("models.object_store._checked", set())
    with pytest.raises(ObjectStoreError, match="its server ignores conditions"):
        pushed.promote(pushed.find("homes", 2), by_person=True)
    assert pushed.serving.read().generation == 0


def test_deleted_version_of_an_object_store_cannot_be_promoted(pushed: VersionStore) -> None:
    found = pushed.find("homes", 2)
    pushed.delete(found)
    with pytest.raises(ChangeRefused, match="deleted meanwhile"):
        pushed.promote(found, by_person=True)
    pushed.promote(pushed.find("homes", 3), by_person=True)
    with pytest.raises(ChangeRefused, match="is champion"):
        pushed.delete(pushed.find("homes", 3))


def test_prune_keeps_the_served_versions(pushed: VersionStore) -> None:
    pushed.promote(pushed.find("homes", 1), by_person=True)
    assert [stored.version for stored in pushed.prune("homes", 1)] == [2], "3 was served before"
    assert numbers(pushed) == [3, 1]


def test_conditional_writes_fail_after_another_write(remote: VersionStore) -> None:
    objects = open_object_store(remote.place)
    objects.create("a", b"1")
    with pytest.raises(ConditionFailed):
        objects.create("a", b"2")
    found = objects.get("a")
    assert found
    objects.replace("a", b"2", found.revision)
    with pytest.raises(ConditionFailed):
        objects.replace("a", b"3", found.revision)
    assert objects.get("b") is None


@pytest.mark.parametrize("url", ["sftp://host/models", "http://host/models"])
def test_url_with_an_unknown_scheme_is_refused(url: str) -> None:
    with pytest.raises(ServingStateError, match="expected a folder, or s3://, gs:// or az://"):
        VersionStore.at_url(url)


def test_mirror_json_lists_the_copied_versions(pushed: VersionStore, mirror: StoreMirror) -> None:
    MirrorSync(mirror, ALL).fill()
    document = json.loads((mirror.folder / "mirror.json").read_bytes())
    assert document["url"] == mirror.url
    assert document["versions"].keys() == {"homes:1", "homes:2", "homes:3"}
