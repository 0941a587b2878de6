"""A worker checks its supervisor; if no worker can start, the server stops."""

import os
import signal
import sys
from pathlib import Path

import pytest

from models.library_hook import LibraryHook, LibraryHookMissing
from service.server import worker
from service.server.library_hooks import bentoml_hooks, uvicorn_hooks
from service.worker_records import WorkerRecords


@pytest.fixture
def in_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this process look like a worker of our supervisor. Returns the shared folder."""
    folder = tmp_path / f"{worker.SHARED_FOLDER_PREFIX}x"
    folder.mkdir()
    monkeypatch.setattr(worker, "in_worker", lambda: True)
    monkeypatch.setenv(worker.SHARED_FOLDER_VARIABLE, str(folder))
    monkeypatch.setenv(worker.SUPERVISOR_VARIABLE, str(os.getppid()))
    monkeypatch.setattr(sys, "argv", ["service", "--fd", "3"])
    return folder


def test_worker_hooks_are_required_in_workers_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(worker.SHARED_FOLDER_VARIABLE, str(tmp_path))
    assert worker.uvicorn_server() is None
    assert worker.http_host() == "127.0.0.1"
    worker.check_supervisor()
    worker.record_failed_start("not a worker")
    assert list(tmp_path.iterdir()) == []


def test_a_worker_reports_a_missing_uvicorn_signal_handler(in_worker: Path) -> None:
    with pytest.raises(LibraryHookMissing, match="SIGTERM is handled by") as raised:
        worker.uvicorn_server()
    assert raised.value.hook is uvicorn_hooks.SIGNAL_HANDLER


def test_a_worker_of_our_supervisor_passes_the_check(in_worker: Path) -> None:
    worker.check_supervisor()


@pytest.mark.parametrize(
    ("variable", "value", "hook"),
    [
        (worker.SUPERVISOR_VARIABLE, "1", bentoml_hooks.ARBITER),
        (worker.SHARED_FOLDER_VARIABLE, "/home/x/bentoml/prometheus", bentoml_hooks.SHARED_FOLDER),
    ],
)
def test_a_worker_of_another_supervisor_reports_the_hook_without_effect(
    in_worker: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, hook: LibraryHook
) -> None:
    for present in (True, False):
        if present:
            monkeypatch.setenv(variable, value)
        else:
            monkeypatch.delenv(variable)
        with pytest.raises(LibraryHookMissing) as raised:
            worker.check_supervisor()
        assert raised.value.hook is hook


def test_a_worker_reports_a_missing_listener(in_worker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["service", "--socket", "3"])
    with pytest.raises(LibraryHookMissing) as raised:
        worker.check_supervisor()
    assert raised.value.hook is bentoml_hooks.LISTENER_ARGUMENT


@pytest.fixture
def recorded_signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The recorded signals, which are not sent."""
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    return signals


def test_three_failed_starts_without_a_running_worker_stop_the_server(
    in_worker: Path, recorded_signals: list[tuple[int, int]]
) -> None:
    worker.record_failed_start("broken")
    WorkerRecords(in_worker).started()
    for _ in range(2):
        worker.record_failed_start("broken")
    assert recorded_signals == []
    WorkerRecords(in_worker).register()  # the started worker no longer runs
    worker.record_failed_start("broken")
    assert recorded_signals == [(os.getppid(), signal.SIGTERM)]
    assert WorkerRecords(in_worker).given_up


def test_failed_starts_do_not_stop_a_server_with_a_running_worker(
    in_worker: Path,
    recorded_signals: list[tuple[int, int]],
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = WorkerRecords(in_worker)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", os.getppid)  # another process runs
        records.register()
    records.started()
    for _ in range(9):
        worker.record_failed_start("broken")
        worker.wait_after_failed_starts(records)
    assert recorded_signals == []
    assert not records.given_up
    assert pauses == [0, 0, 1, 2, 4, 8, 16, 30, 30]
    records.stopping()
    worker.wait_after_failed_starts(records)
    assert pauses[9:] == [0]  # no worker runs, so a new start must not wait


def test_the_delay_is_limited_after_any_number_of_failed_starts(in_worker: Path) -> None:
    records = WorkerRecords(in_worker)
    records.register()
    records.started()
    for _ in range(1100):  # 2.0**1024 overflows
        records.start_failed(1)
    assert worker.start_delay(records) == worker.MAX_WAIT_S
