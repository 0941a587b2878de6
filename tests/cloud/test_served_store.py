"""Servers follow a store in S3: promotions, failures of the store and the network, and two servers on one bucket."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.serving_file import SERVING_FILE, GenerationMismatch
from models.version_lifecycle import VersionStore
from tests.cloud.conftest import Command
from tests.cloud.s3_server import Fault, S3Server
from tests.e2e.conftest import Server
from tests.e2e.server_processes import until, workers

ROW = {"rows": [{"a": 1.5, "b": 2.5}]}
Start = Callable[..., Server]


def version_of(server: Server) -> str:
    answer = httpx.post(f"{server.url}/predict/small", json=ROW, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["version"])


def problems_of(server: Server) -> dict[str, str]:
    found: dict[str, Any] = httpx.get(f"{server.url}/readyz", timeout=30).json()
    return dict(found.get("problems", {}))


def promote(store: VersionStore, version: int) -> int:
    return store.promote(store.find("small", version), by_person=True)[1].generation


def test_a_server_follows_the_store_also_when_the_store_fails(
    serve: Start, home: Path, s3: S3Server, store: VersionStore, settings: dict[str, str], tmp_path: Path
) -> None:
    promote(store, 1)
    server = serve(home, **settings, TABSERVE_WORKERS="2")
    settings = {**settings, "TABSERVE_STORE_CACHE": str(tmp_path / "second")}
    second = serve(home, **settings)
    assert (version_of(server), version_of(second)) == ("1", "1")

    promote(store, 2)
    until(lambda: version_of(server) == version_of(second) == "2")

    answer = httpx.post(f"{server.url}/models/small/promote", json={"version": 3}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert version_of(server) == "3", "acknowledged when all workers serve it"
    until(lambda: version_of(second) == "3")
    stale = httpx.post(f"{second.url}/models/small/rollback", headers={"If-Match": '"1"'}, timeout=60)
    assert stale.status_code == 412
    audit = httpx.get(f"{second.url}/audit", timeout=30).json()["audit"]
    assert [entry["action"] for entry in audit] == ["promote"] * 3

    with s3.failing(Fault("403", method="PUT")):
        answer = httpx.post(f"{server.url}/models/small/rollback", timeout=60)
        assert (answer.status_code, "read_only_store" in answer.text) == (409, True), answer.text

    with s3.failing(Fault("refuse")):
        until(lambda: "store" in problems_of(server) and "store" in problems_of(second))
        assert version_of(server) == version_of(second) == "3"
        assert "tabserve_store_problem 1.0" in httpx.get(f"{server.url}/metrics").text
        [*_, worker] = workers(server)
        worker.kill()
        until(lambda: len({each.pid for each in workers(server)} - {worker.pid}) == 2)
        assert version_of(server) == "3", "a replaced worker needs the copy only"
        refused = httpx.post(f"{server.url}/models/small/rollback", timeout=120)
        assert refused.status_code == 503, refused.text
    until(lambda: problems_of(server) == problems_of(second) == {})

    answer = httpx.post(f"{second.url}/models/small/rollback", timeout=60)
    assert answer.status_code == 200, answer.text
    until(lambda: version_of(server) == version_of(second) == "2")

    s3.faults.append(Fault("500"))
    until(lambda: "store" in problems_of(server))
    s3.faults.clear()
    assert version_of(server) == "2"
    until(lambda: problems_of(server) == {})

    assert store.mirror
    found = store.mirror.objects.get(SERVING_FILE)
    assert found
    store.mirror.objects.put(SERVING_FILE, found.content[:-10])
    until(lambda: "is not valid" in problems_of(server).get("store", ""))
    store.mirror.objects.put(SERVING_FILE, found.content)
    until(lambda: problems_of(server) == {})
    assert version_of(server) == "2"


def test_a_version_that_arrives_damaged_is_not_served(
    serve: Start, home: Path, s3: S3Server, store: VersionStore, settings: dict[str, str], tmp_path: Path
) -> None:
    """A version is served once the store sends all of it again; until then the previous version is served."""
    for version in (3, 2, 1):
        promote(store, version)
    cache = tmp_path / "server"
    server = serve(home, **{**settings, "TABSERVE_STORE_CACHE": str(cache)})
    for kind, version in (("cut", 2), ("truncate", 3), ("flip", 2), ("500", 3)):
        before = version_of(server)
        with s3.failing(Fault(kind, f"small/{version}/weights")):
            shutil.rmtree(next(cache.glob(f"*/models/small/{version}")))
            promote(store, version)  # a version that this process has a copy of
            until(lambda: f"small:{version}" in problems_of(server).get("store", ""))  # noqa: B023
            assert version_of(server) == before
            assert list(cache.glob("*/models/unfinished-*")) == []
        until(lambda: version_of(server) == str(version))  # noqa: B023
        until(lambda: problems_of(server) == {})


def test_a_start_without_the_store_ends_with_the_reason(
    serve: Start, home: Path, s3: S3Server, settings: dict[str, str]
) -> None:
    server = serve(home, wait=False, **settings)
    assert server.process.wait(120) != 0
    assert f"there is no model in {settings['TABSERVE_STORE']}; push one" in server.log.read_text()
    with s3.failing(Fault("refuse")):
        server = serve(home, wait=False, **settings)
        assert server.process.wait(240) != 0
        assert f"{settings['TABSERVE_STORE']} cannot be reached" in server.log.read_text()


def test_of_changes_at_once_one_wins_and_the_others_are_refused(store: VersionStore) -> None:
    found = {version: store.find("small", version) for version in (1, 2, 3)}
    results: list[str] = []

    def change(version: int) -> None:
        try:
            store.promote(found[version], by_person=True, expected=0)
            results.append("done")
        except GenerationMismatch:
            results.append("412")

    threads = [threading.Thread(target=change, args=[version]) for version in (1, 2, 3, 1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == ["412"] * 5 + ["done"]
    assert store.serving.read().generation == 1
    report = store.serving.verify()
    assert (report.lines, report.problems) == (1, [])


def test_a_slow_store_and_a_wrong_clock_change_nothing(
    s3: S3Server, store: VersionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 4e9)
    with s3.failing(Fault("slow", times=2)):
        assert promote(store, 2) == 1
    assert store.serving.verify().problems == []


def test_a_store_that_ignores_conditions_is_not_changed(command: Command, s3: S3Server, store: VersionStore) -> None:
    with s3.failing(Fault("ignore")):
        done = command("promote", "small:2")
    assert done.returncode == 1
    assert "its server ignores conditions" in done.stderr
    assert store.serving.read().generation == 0


def test_commands(command: Command, s3: S3Server, store: VersionStore, settings: dict[str, str]) -> None:
    done = command("promote", "small:2", "--reason", "better")
    assert done.returncode == 0, done.stderr
    assert "servers on other machines follow" in done.stdout
    assert command("promote", "small:3", "--if-generation", "0").returncode == 1
    assert "small" in command("status").stdout
    assert command("audit", "--verify").returncode == 0
    assert "better" in command("audit").stdout
    refused = command("sign", "small:2", "--key", os.devnull)
    assert (refused.returncode, "sign a version while it is pushed" in refused.stderr) == (1, True)
    with s3.failing(Fault("403", method="PUT")):
        denied = command("promote", "small:3")
        assert (denied.returncode, "was denied" in denied.stderr) == (1, True)


def test_a_full_disk_of_the_copy_is_reported(store: VersionStore, tmp_path: Path) -> None:
    from models.mirror_plan import MirrorSelection
    from models.mirror_sync import MirrorSync, reported_problem

    promote(store, 2)
    assert store.mirror
    MirrorSync(store.mirror, MirrorSelection()).fill()
    promote(store, 3)
    folder = store.mirror.folder / "models" / "small" / "3"
    shutil.rmtree(folder)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        sync = MirrorSync(store.mirror, MirrorSelection())
        sync.look()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sync.close()
    assert "small:3 cannot be copied" in reported_problem(store.mirror.folder)
    assert not folder.exists()
