"""A worker serves the versions in `serving.json` and keeps its current versions if new ones cannot be loaded."""

import asyncio
import gc
import json
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models import serving_changes, store, version_files
from models.aliases import CHAMPION
from models.serving_file import ServingChange, ServingFile
from models.serving_state import ModelState, Traffic
from models.version_files import StoredVersion, StoreError
from service import model_selection
from service.data_plane import DataPlane
from service.exchange import ServerContext
from service.follower import Follower
from service.following_status import FollowingStatus
from service.http.asgi import Application
from service.served_model import ServedModel
from service.settings import Settings
from service.version_loader import VersionLoader
from service.worker_files import PrepareRequest, WorkerFiles
from tests.service.conftest import random_version, schemas

SWAPS = int(os.environ.get("SWAPS", "40"))  # a multiple of 4; `make versions-proof` makes 200 changes


@pytest.fixture(scope="module")
def versions_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with four versions of `homes` that predict different values."""
    root = tmp_path_factory.mktemp("versions")
    for version in range(1, 5):
        folder = root / "homes" / str(version)
        folder.mkdir(parents=True)
        version_files.write(folder, random_version(schemas()[0], seed=version))
    return root


@pytest.fixture
def folder(versions_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(versions_folder, tmp_path / "store"))


class Worker:
    """The part of a worker that follows `serving.json`, without a server."""

    def __init__(self, settings: Settings) -> None:
        self.runner = asyncio.Runner()
        models = model_selection.select_models(settings)
        self.plane = DataPlane(models, settings)
        self.plane.start()
        self.application = Application(ServerContext(self.plane, settings))
        self.loader = VersionLoader(self.plane)
        selection = model_selection.selection_of(
            settings, at_start={model.name: int(model.version) for model in models}
        )
        self.follower = Follower(self.plane, selection, self.loader, WorkerFiles(None), self.application.prepare)
        self.poll()

    def poll(self) -> None:
        self.runner.run(self.follower.poll())

    @property
    def aliases(self) -> dict[str, str]:
        return dict(self.plane.snapshot.entry("homes").aliases)

    @property
    def loaded(self) -> list[str]:
        return [served.model.tag for served in self.plane.snapshot.served]

    @property
    def problems(self) -> dict[str, str]:
        return dict(self.plane.following.problems)

    def close(self) -> None:
        self.loader.close()
        self.plane.close()
        self.runner.close()


@pytest.fixture
def start_worker(folder: Path) -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def start_one(**settings: Any) -> Worker:
        made.append(Worker(Settings(store=folder, **settings)))
        return made[-1]

    yield start_one
    for one in made:
        one.close()


@pytest.fixture
def change(folder: Path) -> Callable[..., int]:
    """change(function of serving_changes, arguments…, model=…) applies a change and returns the new generation."""

    def apply_change(function: Callable[..., ModelState], *arguments: Any, model: str = "homes", **named: Any) -> int:
        done = ServingChange(model, function.__name__, lambda state: function(state, *arguments, **named), "test")
        return ServingFile(folder).apply(done)[1].generation

    return apply_change


def damage(folder: Path, version: int) -> None:
    """Change a golden row of a version and delete the manifest."""
    (folder / "homes" / str(version) / "manifest.json").unlink()
    golden = folder / "homes" / str(version) / "golden.json"
    content = json.loads(golden.read_text())
    content["answers"][0][0] += 1e6
    golden.write_text(json.dumps(content))


def test_a_worker_follows_promotions_aliases_and_rollbacks(start_worker: Any, change: Any) -> None:
    worker = start_worker()
    assert worker.aliases == {CHAMPION: "4"}
    change(serving_changes.promote, 2, by_person=True, before=4)
    change(serving_changes.set_alias, "challenger", 3)
    worker.poll()
    assert worker.aliases == {CHAMPION: "2", "challenger": "3"}
    assert worker.loaded == ["homes:2", "homes:3"]
    kept = worker.plane.snapshot.find("homes", "2")
    generation = change(serving_changes.rollback)
    worker.poll()
    assert worker.aliases == {CHAMPION: "4", "challenger": "3"}
    assert (worker.plane.following.wanted_generation, worker.plane.following.serving_generation) == (generation,) * 2
    change(serving_changes.set_alias, "previous", 2)
    worker.poll()
    assert worker.plane.snapshot.find("homes", "2") is not kept, "a version without an alias must be unloaded"
    change(serving_changes.delete_alias, "previous")
    before = worker.plane.snapshot.find("homes", "3")
    worker.poll()
    assert worker.loaded == ["homes:3", "homes:4"]
    assert worker.plane.snapshot.find("homes", "3") is before, "a version that is still served must not be loaded again"


def test_without_an_entry_the_champion_changes_only_at_a_restart(start_worker: Any, change: Any, folder: Path) -> None:
    worker = start_worker()
    shutil.copytree(folder / "homes/1", folder / "homes/5")
    change(serving_changes.set_alias, "other", 1)
    worker.poll()
    assert worker.aliases == {CHAMPION: "4", "other": "1"}
    assert start_worker().aliases[CHAMPION] == "5"


def test_a_damaged_version_is_reported_and_the_previous_version_stays(
    start_worker: Any, change: Any, folder: Path
) -> None:
    worker = start_worker()
    change(serving_changes.set_alias, "challenger", 3)
    worker.poll()
    damage(folder, 2)
    damage(folder, 1)
    change(serving_changes.set_alias, "challenger", 1)
    change(serving_changes.set_alias, "other", 3)
    generation = change(serving_changes.promote, 2, by_person=True)
    worker.poll()
    assert worker.aliases == {CHAMPION: "4", "challenger": "3", "other": "3"}
    assert worker.problems.keys() == {"homes:1", "homes:2"}
    assert "must not be served" in worker.problems["homes:2"]
    status = worker.plane.following
    assert (status.wanted_generation, status.serving_generation) == (generation, 1)
    change(serving_changes.promote, 3, by_person=True)
    change(serving_changes.set_alias, "challenger", 4)
    worker.poll()
    assert worker.aliases == {CHAMPION: "3", "challenger": "4", "other": "3"}
    assert not worker.problems


def test_an_engine_error_during_loading_is_reported(
    start_worker: Any, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Any) -> Any:
        raise MemoryError("no memory\nfor the engine")

    worker = start_worker()
    monkeypatch.setattr(worker.plane, "load", fail)
    reason = "homes:2 cannot be loaded: MemoryError: no memory for the engine"
    assert worker.runner.run(worker.follower.prepare(PrepareRequest("1", "homes", [2]))) == reason
    change(serving_changes.promote, 2, by_person=True)
    worker.poll()
    assert worker.problems == {"homes:2": reason}
    assert worker.aliases == {CHAMPION: "4"}


def test_the_store_is_read_in_a_thread(start_worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, threads = start_worker(), list[threading.Thread]()

    def record_thread(path: Path) -> None:
        threads.append(threading.current_thread())

    monkeypatch.setattr("service.follower.file_signature", record_thread)
    worker.poll()
    assert threads
    assert threading.main_thread() not in threads


def test_the_previous_champion_is_served_if_the_champion_cannot_be_loaded_at_the_start(
    start_worker: Any, change: Any, folder: Path
) -> None:
    change(serving_changes.promote, 2, by_person=True)
    change(serving_changes.promote, 1, by_person=True)
    damage(folder, 1)
    worker = start_worker()
    assert worker.aliases == {CHAMPION: "2"}
    assert worker.problems.keys() == {"homes:1"}
    damage(folder, 2)
    assert start_worker().aliases == {CHAMPION: "4"}


def test_a_version_that_is_not_stored_is_reported(start_worker: Any, change: Any) -> None:
    worker = start_worker()
    change(serving_changes.promote, 9, by_person=True)
    worker.poll()
    assert worker.aliases == {CHAMPION: "4"}
    assert worker.problems.keys() == {"homes:9"}


@pytest.mark.parametrize("content", ["{", '{"generation": 1, "models": {"homes": {"champion": "x"}}}'])
def test_an_invalid_serving_json_is_reported_and_changes_nothing(
    start_worker: Any, change: Any, folder: Path, content: str
) -> None:
    worker = start_worker()
    change(serving_changes.promote, 2, by_person=True)
    worker.poll()
    (folder / "serving.json").write_text(content)
    worker.poll()
    assert worker.aliases == {CHAMPION: "2"}
    assert "serving.json is not valid" in worker.problems["serving.json"]


def test_the_version_list_has_states_aliases_and_traffic(
    start_worker: Any, change: Any, folder: Path, asgi: Callable[..., Any]
) -> None:
    worker = start_worker()
    damage(folder, 1)
    change(serving_changes.set_alias, "challenger", 3)
    change(serving_changes.set_alias, "broken", 1)
    generation = change(serving_changes.set_traffic, Traffic(shares={CHAMPION: 90, "challenger": 10}))
    worker.poll()
    page = worker.runner.run(asgi(worker.application, "GET", "/models/homes/versions")).body
    assert page["model"] == "homes"
    assert generation == 3
    found = {one["version"]: one for one in page["versions"]}
    assert list(found) == ["4", "3", "2", "1"]
    assert [one["state"] for one in found.values()] == ["loaded", "loaded", "stored", "failed"]
    assert [one["aliases"] for one in found.values()] == [[CHAMPION], ["challenger"], [], []]
    assert [one["traffic"] for one in found.values()] == [90, 10, 0, 0]
    assert [one["reason"] for one in found.values() if "reason" in one] == [worker.problems["homes:1"]]
    assert found["2"]["metrics"]["metric"]["name"] == "rmse"
    assert len(found["2"]["manifest"]) == 64
    assert found["2"]["trained_at"][:2] == "20"
    assert worker.runner.run(asgi(worker.application, "GET", "/models/none/versions")).status == 404


def test_a_missing_store_is_reported_and_changes_nothing(start_worker: Any, change: Any, folder: Path) -> None:
    worker = start_worker()
    change(serving_changes.promote, 2, by_person=True)
    worker.poll()
    folder.rename(folder.with_name("gone"))
    worker.poll()
    assert worker.aliases == {CHAMPION: "2"}
    assert "is missing" in worker.problems["serving.json"]
    folder.with_name("gone").rename(folder)
    change(serving_changes.promote, 3, by_person=True)
    worker.poll()
    assert worker.aliases == {CHAMPION: "3"}
    assert not worker.problems


def test_a_worker_works_without_space_for_its_files(tmp_path: Path) -> None:
    files = WorkerFiles(tmp_path / "removed")
    files.publish(FollowingStatus())
    files.publish_counts({})
    assert files.statuses() == {}
    assert files.requested() is None
    files.remove()


def test_a_server_that_cannot_load_a_version_does_not_delay_other_servers(
    start_worker: Any, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two servers on a store cannot load a version, for example for lack of memory or a key."""

    def fail(stored: StoredVersion) -> ServedModel:
        raise StoreError(f"{stored.tag} cannot be loaded: here")

    failing, other = start_worker(), start_worker()
    change(serving_changes.promote, 1, by_person=True)
    for worker in (failing, other):
        worker.poll()
    monkeypatch.setattr(failing.loader, "_load", fail)
    generation = change(serving_changes.promote, 2, by_person=True)
    for worker in (failing, other):
        worker.poll()
    assert (failing.aliases, failing.problems) == ({CHAMPION: "1"}, {"homes:2": "homes:2 cannot be loaded: here"})
    assert (other.aliases, other.problems) == ({CHAMPION: "2"}, {})
    status = failing.plane.following
    assert (status.wanted_generation, status.serving_generation) == (generation, generation - 1)
    assert other.plane.following.serving_generation == generation


def test_a_pinned_model_does_not_follow_changes(start_worker: Any, change: Any) -> None:
    change(serving_changes.promote, 2, by_person=True)
    worker = start_worker(models=("homes:3",))
    change(serving_changes.set_alias, "challenger", 1)
    change(serving_changes.set_served, False)
    worker.poll()
    assert worker.aliases == {CHAMPION: "3"}


def test_models_are_added_and_removed_while_the_worker_serves(start_worker: Any, change: Any, folder: Path) -> None:
    worker = start_worker()
    income = folder / "income/1"
    income.mkdir(parents=True)
    version_files.write(income, random_version(schemas()[1]))
    change(serving_changes.promote, 1, by_person=False, model="income")
    worker.poll()
    assert worker.plane.snapshot.names == ["homes", "income"]
    change(serving_changes.set_served, False, model="income")
    worker.poll()
    assert worker.plane.snapshot.names == ["homes"]
    change(serving_changes.set_served, True, model="income")
    worker.poll()
    assert worker.plane.snapshot.names == ["homes", "income"]


def test_a_prepared_version_is_not_loaded_again(start_worker: Any, change: Any, folder: Path) -> None:
    worker = start_worker()
    prepare = worker.follower.prepare
    assert worker.runner.run(prepare(PrepareRequest("1", "homes", [2, 4]))) is None
    shutil.rmtree(folder / "homes/2")
    change(serving_changes.promote, 2, by_person=True)
    worker.poll()
    assert worker.aliases == {CHAMPION: "2"}
    damage(folder, 3)
    assert "must not be served" in worker.runner.run(prepare(PrepareRequest("2", "homes", [3])))
    assert "homes:9" in worker.runner.run(prepare(PrepareRequest("3", "homes", [9])))


@pytest.fixture
def without_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_garbage_collector")
def test_unloaded_versions_are_freed(start_worker: Any, change: Any) -> None:
    """Versions are freed immediately, without the garbage collector, whose runs would delay all requests."""
    worker = start_worker()
    references: list[weakref.ref[Any]] = []
    for number in range(SWAPS):
        change(serving_changes.promote, 1 + number % 4, by_person=True)
        worker.poll()
        references.append(weakref.ref(worker.plane.snapshot.find("homes").model))
        for _ in range(2):
            worker.plane.metrics.flush()
        assert sum(reference() is not None for reference in references) == 1
    assert worker.aliases == {CHAMPION: "4"}
    assert len(worker.plane.metrics._sources) <= 2


def test_the_versions_of_the_test_store_predict_different_values(versions_folder: Path) -> None:
    found = [store.load(stored) for stored in store.versions(versions_folder)[0]["homes"]]
    values = {model.predict_rows(model.golden.rows[:1]).primary.item() for model in found}
    assert len(values) == 4
