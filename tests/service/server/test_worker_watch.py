"""Workers that take too long are killed, and dead workers are replaced, tested with a circus watcher of `sleep`."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from circus.watcher import Watcher  # type: ignore[import-untyped]

from service import worker_records
from service.server.worker_watch import STOP_S, STUCK_S, UNKNOWN_S, WorkerWatch, is_running_child
from service.worker_records import WorkerRecords, WorkerState
from tests.child_processes import kill_at_exit
from tests.e2e.server_processes import wait_until

START_S, GRACE_S = 60.0, 3.0


class WatchedWorkers:
    """A `WorkerWatch` and two processes of a circus watcher. `now` is the time of its clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 0.0
        self.records = WorkerRecords(folder)
        self.arbiter = SimpleNamespace(_stopping=False, loop=SimpleNamespace(call_later=lambda *_: None))
        self.watcher = Watcher("workers", "sleep 600", numprocesses=2, copy_env=True)
        self.watcher.initialize(None, {}, self.arbiter)
        self.watch = WorkerWatch(
            self.arbiter, self.watcher, WorkerRecords(folder), START_S, GRACE_S, clock=lambda: self.now
        )
        self.watch.install()
        self.watcher._status = "starting"
        for _ in range(2):
            self.watcher.spawn_process()
        self.watcher._status = "active"

    @property
    def pids(self) -> list[int]:
        return list(self.watcher.processes)

    def register(self, pid: int, monkeypatch: pytest.MonkeyPatch, state: WorkerState = WorkerState.STARTING) -> None:
        """Register a worker, as the worker itself does."""
        records = WorkerRecords(self.folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: pid)
            records.register()
        if state is WorkerState.READY:
            records.started()
        if state is WorkerState.STOPPING:
            records.stopping()

    def check_after(self, seconds: float) -> None:
        self.watch.check()
        self.now += seconds
        self.watch.check()

    def reap(self, *pids: int) -> None:
        """Wait until killed workers have ended, and remove them from the watcher, as circus does."""
        for pid in pids:
            wait_until(lambda: not is_running_child(pid))  # noqa: B023 - called at once
            self.watcher.reap_process(pid)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedWorkers]:
    watched = WatchedWorkers(tmp_path)
    yield watched
    watched.arbiter._stopping = True
    for pid in watched.pids:
        if is_running_child(pid):
            os.kill(pid, signal.SIGKILL)
    watched.reap(*watched.pids)


def test_a_worker_that_is_not_ready_in_time_is_killed(
    watched: WatchedWorkers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ready, late = watched.pids
    watched.register(ready, monkeypatch, WorkerState.READY)
    watched.register(late, monkeypatch)
    watched.check_after(START_S - 1)
    assert is_running_child(late)
    watched.check_after(2)
    watched.reap(late)
    assert watched.pids == [ready]
    assert watched.records.failed_starts == 1  # the end of the killed worker is not counted again
    assert "worker is not ready in time, killing it" in caplog.text


def test_an_unregistered_worker_that_is_late_is_killed_even_if_it_is_suspended(watched: WatchedWorkers) -> None:
    for pid in watched.pids:
        os.kill(pid, signal.SIGSTOP)
    watched.check_after(START_S + 1)
    watched.reap(*watched.pids)
    assert not watched.pids


def test_the_server_ends_after_three_late_starts_if_no_worker_runs(watched: WatchedWorkers) -> None:
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    watched.records.start_failed(1)
    watched.check_after(START_S + 1)
    assert received == [signal.SIGTERM]
    assert watched.records.given_up


def test_no_worker_is_killed_if_the_file_of_states_was_deleted(watched: WatchedWorkers) -> None:
    (watched.folder / worker_records.FILE).unlink()
    watched.check_after(10 * START_S)
    assert all(map(is_running_child, watched.pids))


def test_a_worker_that_does_not_end_is_killed(watched: WatchedWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, stopping = watched.pids
    watched.register(ready, monkeypatch, WorkerState.READY)
    watched.register(stopping, monkeypatch, WorkerState.STOPPING)
    watched.check_after(GRACE_S + STOP_S - 1)
    assert is_running_child(stopping)
    watched.arbiter._stopping = True  # even if the whole server is stopping
    watched.check_after(2)
    watched.reap(stopping)
    assert watched.pids == [ready]


def test_dead_workers_that_circus_does_not_replace_are_replaced(
    watched: WatchedWorkers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = watched.pids
    for pid in before:
        watched.register(pid, monkeypatch, WorkerState.READY)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running_child(pid))  # noqa: B023 - called at once
    watched.check_after(STUCK_S - 1)
    assert watched.pids == before  # circus may be about to replace them
    watched.check_after(2)
    assert len(watched.pids) == 2
    assert not set(watched.pids) & set(before)
    assert all(map(is_running_child, watched.pids))
    assert "workers were not replaced, replacing them now" in caplog.text


def test_dead_workers_of_a_stopping_server_are_not_replaced(watched: WatchedWorkers) -> None:
    watched.arbiter._stopping = True
    before = watched.pids
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: not is_running_child(before[0]))
    watched.check_after(2 * STUCK_S)
    assert watched.pids == before


def test_a_worker_unknown_to_circus_is_killed(watched: WatchedWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    with kill_at_exit(subprocess.Popen(["sleep", "600"])) as unknown:
        watched.register(unknown.pid, monkeypatch, WorkerState.READY)
        watched.check_after(UNKNOWN_S - 1)
        assert unknown.poll() is None
        watched.check_after(2)
        assert unknown.wait(60) == -signal.SIGKILL
    assert all(map(is_running_child, watched.pids))


def test_a_failed_spawn_does_not_stop_the_other_workers(watched: WatchedWorkers, tmp_path: Path) -> None:
    watched.watcher.working_dir = str(tmp_path / "missing")
    assert watched.watcher.spawn_process() is True  # circus stops all workers if this is False
    assert len(watched.pids) == 2


def test_a_failed_spawn_is_repeated_if_no_worker_runs(
    watched: WatchedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in watched.pids:
        os.kill(pid, signal.SIGKILL)
    watched.reap(*watched.pids)
    folder = tmp_path / "missing"
    watched.watcher.working_dir = str(folder)
    monkeypatch.setattr("service.server.worker_watch.time.sleep", lambda seconds: folder.mkdir(exist_ok=True))
    watched.watcher.spawn_process()
    assert len(watched.pids) == 1


def test_a_failed_spawn_stops_the_start_of_a_server(watched: WatchedWorkers, tmp_path: Path) -> None:
    watched.watcher._status = "starting"
    watched.watcher.working_dir = str(tmp_path / "missing")
    assert watched.watcher.spawn_process() is False


def test_a_worker_that_ends_while_it_starts_counts_as_a_failed_start(
    watched: WatchedWorkers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ready, starting = watched.pids
    watched.register(ready, monkeypatch, WorkerState.READY)
    for pid, failed in ((ready, 0), (starting, 1)):
        os.kill(pid, signal.SIGKILL)
        watched.reap(pid)
        assert watched.records.failed_starts == failed
    assert "worker ended, replacing it" in caplog.text
    assert "worker ended while it started, replacing it" in caplog.text


def test_a_process_that_cannot_be_inspected_counts_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> str:
        raise OSError(24, "Too many open files")

    assert not is_running_child(os.getppid())
    assert not is_running_child(2**22 + 1)
    monkeypatch.setattr(Path, "read_text", fail)
    assert is_running_child(2**22 + 1)
