"""Canaries are rolled back automatically. The predictions of shadows are compared, and no request waits for a
shadow.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from models import audit, serving_changes
from models.serving_file import ReadOnlyStore, ServingFile
from models.serving_state import AutomaticRollback, Shadow, Traffic
from models.tabular_model import TabularModel
from models.version_lifecycle import VersionStore
from service.background_client import ProcessUnavailable
from service.canary_watch import CanaryWatch, ResponseCounts, key_of
from service.logs import MAX_LINES, RateLimit
from service.settings import Settings
from service.worker_files import WorkerFiles
from tests.service.conftest import HOME
from tests.service.test_follower import Worker, change, folder, versions_folder

__all__ = ["change", "folder", "versions_folder"]
CANARY = Traffic(shares={"champion": 50, "challenger": 50}, rollback=AutomaticRollback(after_rows=10))
WAIT_S = 300.0
NO_PROCESS = 99_999_999  # larger than any process id


@pytest.fixture
def worker(folder: Path) -> Iterator[Worker]:
    made = Worker(Settings(store=folder))
    made.application.context.state.mark_ready()
    yield made
    made.close()


@pytest.fixture
def predict(worker: Worker, asgi: Callable[..., Any]) -> Callable[[int], Any]:
    def send(number: int, path: str = "/predict/homes") -> Any:
        body = json.dumps({"rows": [{**HOME, "class": number / 1000}]}).encode()
        return worker.runner.run(asgi(worker.application, "POST", path, body))

    return send


def start_canary(worker: Worker, change: Any, files: WorkerFiles) -> CanaryWatch:
    watch = CanaryWatch(worker.follower, files)
    change(serving_changes.promote, 4, by_person=True)
    change(serving_changes.set_alias, "challenger", 2)
    change(serving_changes.set_traffic, CANARY)
    worker.poll()
    assert worker.plane.snapshot.entry("homes").canary
    return watch


def check_canary(worker: Worker, watch: CanaryWatch) -> None:
    worker.plane.metrics.flush()
    worker.runner.run(watch.poll())


def break_challenger(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: Any) -> Any:
        raise ArithmeticError("broken")

    engine: Any = worker.plane.snapshot.find("homes", "2").model.engine
    monkeypatch.setattr(engine, "outputs", fail)
    monkeypatch.setattr(worker.plane.snapshot.find("homes", "2"), "_single_row", None)


@pytest.mark.parametrize("shared", [None, "there is no such folder"], ids=["one process", "no space for files"])
def test_a_failing_challenger_is_rolled_back_immediately(
    worker: Worker,
    change: Any,
    predict: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared: str | None,
) -> None:
    watch = start_canary(worker, change, WorkerFiles(folder / shared if shared else None))
    break_challenger(worker, monkeypatch)
    statuses = [predict(number).status for number in range(40)]
    assert {200, 500} == set(statuses)
    check_canary(worker, watch)
    assert ServingFile(folder).read().model("homes").traffic is None
    assert {predict(number).body["version"] for number in range(40)} == {"4"}
    last = list(audit.read(folder))[-1]
    assert (last["action"], last["actor"]) == ("automatic_rollback", "automatic rollback")
    assert "engine errors" in last["reason"]
    assert b'tabserve_automatic_rollbacks_total{model="homes"} 1.0' in worker.plane.metrics.page()


def test_a_rollback_takes_effect_in_memory_if_the_store_is_read_only(
    worker: Worker, change: Any, predict: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_write(*arguments: Any, **named: Any) -> Any:
        raise ReadOnlyStore("cannot be written")

    watch = start_canary(worker, change, WorkerFiles(None))
    break_challenger(worker, monkeypatch)
    for number in range(40):
        predict(number)
    monkeypatch.setattr(VersionStore, "change", fail_to_write)
    check_canary(worker, watch)
    assert ServingFile(folder).read().model("homes").traffic == CANARY
    assert {predict(number).body["version"] for number in range(40)} == {"4"}
    monkeypatch.undo()
    change(serving_changes.set_traffic, None)
    worker.poll()
    change(serving_changes.set_traffic, CANARY)
    worker.poll()
    assert {predict(number).body["version"] for number in range(40)} == {"2", "4"}, "a new canary begins"


def test_a_good_challenger_keeps_its_traffic(worker: Worker, change: Any, predict: Any, folder: Path) -> None:
    watch = start_canary(worker, change, WorkerFiles(None))
    for _ in range(4):
        assert {predict(number).body["version"] for number in range(30)} == {"2", "4"}
        check_canary(worker, watch)
    assert ServingFile(folder).read().model("homes").traffic == CANARY


def test_counts_of_ended_workers_are_deleted_when_a_canary_restarts(
    worker: Worker, change: Any, folder: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    watch = start_canary(worker, change, WorkerFiles(shared))
    key, failed = key_of(worker.plane.snapshot.entry("homes")), {"2": ResponseCounts(9, failed=5, engine_errors=5)}
    check_canary(worker, watch)
    change(serving_changes.set_traffic, None)
    worker.poll()
    WorkerFiles(shared, pid=NO_PROCESS).publish_counts({key: failed, "another model": failed})
    check_canary(worker, watch)
    change(serving_changes.set_traffic, CANARY)
    worker.poll()
    check_canary(worker, watch)
    assert ServingFile(folder).read().model("homes").traffic == CANARY
    (kept,) = WorkerFiles(shared).counts("another model", {})
    assert kept[0] == "2"


def start_shadow(worker: Worker, change: Any, version: int) -> None:
    change(serving_changes.promote, 4, by_person=True)
    change(serving_changes.set_alias, "challenger", version)
    change(serving_changes.set_shadow, Shadow(alias="challenger", share=1))
    worker.poll()


def shadow_metrics(worker: Worker) -> dict[str, float]:
    lines = worker.plane.metrics.page().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith("tabserve_shadow") and "_created" not in line)
    return {name: float(value) for name, _, value in found}


def wait_for_shadows(worker: Worker, rows: int) -> dict[str, float]:
    until = time.monotonic() + WAIT_S
    while (found := shadow_metrics(worker)).get(COUNT, 0.0) < rows:
        assert time.monotonic() < until, found
        time.sleep(0.01)
    return found


COUNT = 'tabserve_shadow_difference_count{model="homes",version="2"}'


def test_shadow_predictions_are_compared_and_not_returned(worker: Worker, change: Any, predict: Any) -> None:
    start_shadow(worker, change, 2)
    assert {predict(number).body["version"] for number in range(20)} == {"4"}
    found = wait_for_shadows(worker, 20)
    assert found[COUNT] == 20
    assert found['tabserve_shadow_difference_bucket{le="0.001",model="homes",version="2"}'] < 20
    change(serving_changes.set_shadow, None)
    worker.poll()
    assert not worker.plane.shadows.active
    predict(1)
    assert shadow_metrics(worker)[COUNT] == 20


def shadow_process(worker: Worker) -> psutil.Process:
    """The process that predicts for shadows, after its first prediction."""
    shadows = worker.plane.shadows._worker
    assert shadows is not None
    assert shadows._process._running is not None
    return psutil.Process(shadows._process._running.process.pid)


def test_a_killed_shadow_process_is_replaced_and_ends_with_the_last_shadow(
    worker: Worker, change: Any, predict: Any
) -> None:
    start_shadow(worker, change, 2)
    predict(0)
    before = wait_for_shadows(worker, 1)
    killed = shadow_process(worker)
    killed.kill()
    predict(0)
    found = wait_for_shadows(worker, 2)
    assert [2 * before[name] for name in before] == [found[name] for name in before]
    replaced = shadow_process(worker)
    assert replaced.pid != killed.pid
    change(serving_changes.set_shadow, None)
    worker.poll()
    replaced.wait(WAIT_S)


def test_a_shadow_process_that_does_not_start_drops_only_the_comparison(
    worker: Worker, change: Any, predict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker then does not predict for the shadow itself, because it may not have the time either."""
    monkeypatch.setattr("sys.executable", "/bin/false")
    start_shadow(worker, change, 2)
    assert {predict(number).status for number in range(3)} == {200}
    dropped = 'tabserve_shadow_dropped_rows_total{model="homes",version="2"}'
    until = time.monotonic() + WAIT_S
    while shadow_metrics(worker).get(dropped) != 3:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert COUNT not in shadow_metrics(worker)


def not_loadable(model: TabularModel) -> Any:
    raise ProcessUnavailable("it has no files")


def test_a_shadow_that_the_process_cannot_load_is_predicted_in_the_worker(
    worker: Worker, change: Any, predict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_shadow(worker, change, 2)
    predict(1)
    by_process = wait_for_shadows(worker, 1)
    monkeypatch.setattr("service.shadow_queue.describe", not_loadable)
    predict(1)
    in_worker = wait_for_shadows(worker, 2)
    assert [2 * by_process[name] for name in by_process] == [in_worker[name] for name in by_process]


def test_a_slow_shadow_delays_no_request_and_drops_rows(
    worker: Worker, change: Any, predict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_shadow(worker, change, 2)
    predict(0)
    wait_for_shadows(worker, 1)
    assert worker.plane.shadows._worker is not None
    worker.plane.shadows._worker._jobs.maxsize = 3
    process = shadow_process(worker)
    process.suspend()
    for number in range(10):
        assert predict(number).status == 200  # the requests are answered while the shadow is blocked
    dropped = 'tabserve_shadow_dropped_rows_total{model="homes",version="2"}'
    assert shadow_metrics(worker)[dropped] >= 6
    process.resume()
    found = wait_for_shadows(worker, 4)
    assert found[COUNT] + found[dropped] >= 10


def test_a_request_with_many_rows_is_not_copied(
    worker: Worker, change: Any, predict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.shadow_queue.MAX_ROWS", 0)
    start_shadow(worker, change, 2)
    predict(0)
    assert shadow_metrics(worker)['tabserve_shadow_dropped_rows_total{model="homes",version="2"}'] == 1


def test_a_failing_shadow_is_counted_and_its_log_lines_are_limited(
    worker: Worker, change: Any, predict: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start_shadow(worker, change, 2)
    monkeypatch.setattr("service.shadow_queue.describe", not_loadable)  # it predicts in the worker
    break_challenger(worker, monkeypatch)
    assert {predict(number).status for number in range(20)} == {200}
    until = time.monotonic() + WAIT_S
    while shadow_metrics(worker).get('tabserve_shadow_dropped_rows_total{model="homes",version="2"}') != 20:
        assert time.monotonic() < until
        time.sleep(0.01)
    limit = RateLimit(lambda: 1.0)
    passed = [record for record in caplog.records if record.message == "a shadow failed" and limit.filter(record)]
    assert len(passed) == MAX_LINES


def test_the_canary_watch_sums_the_counts_of_all_workers(
    folder: Path, change: Any, asgi: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers have three engine errors each, in total more than four."""
    shared = tmp_path / "shared"
    shared.mkdir()
    change(serving_changes.promote, 4, by_person=True)
    change(serving_changes.set_alias, "challenger", 2)
    change(serving_changes.set_traffic, CANARY)
    workers = [Worker(Settings(store=folder)) for _ in range(2)]
    files = [WorkerFiles(shared, pid) for pid in sorted((os.getpid(), os.getppid()))]  # both processes run
    watches = [CanaryWatch(worker.follower, one) for worker, one in zip(workers, files, strict=True)]
    for worker, one in zip(workers, files, strict=True):
        one.publish(worker.plane.following)
        worker.application.context.state.mark_ready()
        break_challenger(worker, monkeypatch)
        failed, number = 0, 0
        while failed < 3:
            body = json.dumps({"rows": [{**HOME, "class": number / 1000}]}).encode()
            reply = worker.runner.run(asgi(worker.application, "POST", "/predict/homes", body))
            failed, number = failed + (reply.status == 500), number + 1
    for _ in range(2):  # the first worker is the leader; the second publishes its counts in its first check
        for worker, watch in zip(workers, watches, strict=True):
            check_canary(worker, watch)
    assert ServingFile(folder).read().model("homes").traffic is None
    for worker in workers:
        assert not worker.plane.snapshot.entry("homes").split
        worker.close()
