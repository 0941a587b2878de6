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
from tests.e2e.server_processes import wait_until, workers

ROW = {"rows": [{"a": 1.5, "b": 2.5}]}
Start = Callable[..., Server]


def served_version(server: Server) -> str:
    response = httpx.post(f"{server.url}/predict/small", json=ROW, timeout=30)
    assert response.status_code == 200, response.text
    return str(response.json()["version"])


def readiness_problems(server: Server) -> dict[str, str]:
    found: dict[str, Any] = httpx.get(f"{server.url}/readyz", timeout=30).json()
    return dict(found.get("problems", {}))


def promote(store: VersionStore, version: int) -> int:
    return store.promote(store.find("small", version), by_person=True)[1].generation


def test_servers_follow_the_store_and_survive_its_failures(
    serve: Start, home: Path, s3: S3Server, store: VersionStore, settings: dict[str, str], tmp_path: Path
) -> None:
    promote(store, 1)
    server = serve(home, **settings, TABSERVE_WORKERS="2")
    settings = {**settings, "TABSERVE_STORE_CACHE": str(tmp_path / "second")}
    second = serve(home, **settings)
    assert (served_version(server), served_version(second)) == ("1", "1")

    promote(store, 2)
    wait_until(lambda: served_version(server) == served_version(second) == "2")

    response = httpx.post(f"{server.url}/models/small/promote", json={"version": 3}, timeout=60)
    assert response.status_code == 200, response.text
    assert served_version(server) == "3", "promotion acknowledged before all workers serve the version"
    wait_until(lambda: served_version(second) == "3")
    stale = httpx.post(f"{second.url}/models/small/rollback", headers={"If-Match": '"1"'}, timeout=60)
    assert stale.status_code == 412
    audit = httpx.get(f"{second.url}/audit", timeout=30).json()["audit"]
    assert [entry["action"] for entry in audit] == ["promote"] * 3

    with s3.failing(Fault("403", method="PUT")):
        response = httpx.post(f"{server.url}/models/small/rollback", timeout=60)
        assert (response.status_code, "read_only_store" in response.text) == (409, True), response.text

    with s3.failing(Fault("refuse")):
        wait_until(lambda: "store" in readiness_problems(server) and "store" in readiness_problems(second))
        assert served_version(server) == served_version(second) == "3"
        assert "tabserve_store_problem 1.0" in httpx.get(f"{server.url}/metrics").text
        [*_, worker] = workers(server)
        worker.kill()
        wait_until(lambda: len({each.pid for each in workers(server)} - {worker.pid}) == 2)
        assert served_version(server) == "3", "the new worker did not serve the local copy"
        refused = httpx.post(f"{server.url}/models/small/rollback", timeout=120)
        assert refused.status_code == 503, refused.text
    wait_until(lambda: readiness_problems(server) == readiness_problems(second) == {})

    response = httpx.post(f"{second.url}/models/small/rollback", timeout=60)
    assert response.status_code == 200, response.text
    wait_until(lambda: served_version(server) == served_version(second) == "2")

    s3.faults.append(Fault("500"))
    wait_until(lambda: "store" in readiness_problems(server))
    s3.faults.clear()
    assert served_version(server) == "2"
    wait_until(lambda: readiness_problems(server) == {})

    assert store.mirror
    found = store.mirror.objects.get(SERVING_FILE)
    assert found
    store.mirror.objects.put(SERVING_FILE, found.content[:-10])
    wait_until(lambda: "is not valid" in readiness_problems(server).get("store", ""))
    store.mirror.objects.put(SERVING_FILE, found.content)
    wait_until(lambda: readiness_problems(server) == {})
    assert served_version(server) == "2"


def test_a_version_that_is_damaged_in_transfer_is_not_served(
    serve: Start, home: Path, s3: S3Server, store: VersionStore, settings: dict[str, str], tmp_path: Path
) -> None:
    """The previous version is served until the store returns all files of the new version intact."""
    for version in (3, 2, 1):
        promote(store, version)
    cache = tmp_path / "server"
    server = serve(home, **{**settings, "TABSERVE_STORE_CACHE": str(cache)})
    for kind, version in (("cut", 2), ("truncate", 3), ("flip", 2), ("500", 3)):
        before = served_version(server)
        with s3.failing(Fault(kind, f"small/{version}/weights")):
            shutil.rmtree(next(cache.glob(f"*/models/small/{version}")))
            promote(store, version)  # the version is in the local cache of this process
            wait_until(lambda: f"small:{version}" in readiness_problems(server).get("store", ""))  # noqa: B023
            assert served_version(server) == before
            assert list(cache.glob("*/models/unfinished-*")) == []
        wait_until(lambda: served_version(server) == str(version))  # noqa: B023
        wait_until(lambda: readiness_problems(server) == {})


def test_a_start_without_a_reachable_store_ends_with_an_error_message(
    serve: Start, home: Path, s3: S3Server, settings: dict[str, str]
) -> None:
    server = serve(home, wait=False, **settings)
    assert server.process.wait(120) != 0
    assert f"there is no model in {settings['TABSERVE_STORE']}; push one" in server.log.read_text()
    with s3.failing(Fault("refuse")):
        server = serve(home, wait=False, **settings)
        assert server.process.wait(240) != 0
        assert f"{settings['TABSERVE_STORE']} cannot be reached" in server.log.read_text()


def test_one_of_several_concurrent_promotions_succeeds(store: VersionStore) -> None:
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


def test_a_promotion_succeeds_with_a_slow_store_and_a_wrong_clock(
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


def test_the_version_commands_work_with_a_store_in_s3(
    command: Command, s3: S3Server, store: VersionStore, settings: dict[str, str]
) -> None:
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


def test_a_full_disk_of_the_local_copy_is_reported(store: VersionStore, tmp_path: Path) -> None:
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
        sync.poll()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sync.close()
    assert "small:3 cannot be copied" in reported_problem(store.mirror.folder)
    assert not folder.exists()
