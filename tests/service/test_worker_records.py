"""Workers share a few numbers in a file with reserved space."""

import os
import subprocess
import sys
from pathlib import Path

from models.file_lock import try_lock
from service import worker_records
from service.worker_records import WorkerRecords, WorkerState, is_alive


def test_failed_starts_are_counted_until_a_worker_has_started(tmp_path: Path) -> None:
    first, second = WorkerRecords(tmp_path), WorkerRecords(tmp_path)
    assert (first.start_failed(1), second.start_failed(2)) == (1, 2)
    assert not second.running
    first.register()
    assert not second.running
    first.started()
    assert second.running
    assert second.failed_starts == 0
    assert not second.given_up
    first.give_up()
    assert second.given_up


def test_an_ended_worker_and_its_lost_series_are_not_counted(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from service.worker_records import WorkerRecords;"
        "records = WorkerRecords(pathlib.Path(sys.argv[1])); records.register(); records.started();"
        "records.set_lost_series(7); print(records.running, records.lost_series)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.split() == ["True", "7"]
    records = WorkerRecords(tmp_path)
    assert (records.running, records.lost_series) == (False, 0)
    records.register()
    records.set_lost_series(2)
    assert WorkerRecords(tmp_path).lost_series == 2


def test_the_slot_of_an_ended_worker_is_reused(tmp_path: Path) -> None:
    records = WorkerRecords(tmp_path)
    for _ in range(2 * worker_records.SLOTS):
        records.register()
    records.set_lost_series(1)
    assert records.lost_series == 1


def test_the_space_of_the_file_is_reserved(tmp_path: Path) -> None:
    WorkerRecords(tmp_path)
    assert (tmp_path / worker_records.FILE).stat().st_blocks * 512 >= worker_records.SIZE


def test_a_worker_without_the_shared_file_has_separate_records(tmp_path: Path) -> None:
    records = WorkerRecords.of_worker(tmp_path / "deleted")
    records.register()
    records.started()
    assert records.running


def test_the_state_of_a_worker_is_recorded(tmp_path: Path) -> None:
    worker, supervisor = WorkerRecords(tmp_path), WorkerRecords(tmp_path)
    pid = os.getpid()
    assert supervisor.state_of(pid) is None
    worker.register()
    assert (supervisor.state_of(pid), supervisor.pids) == (WorkerState.STARTING, {pid})
    worker.started()
    assert (supervisor.state_of(pid), supervisor.running) == (WorkerState.READY, True)
    worker.stopping()
    assert (supervisor.state_of(pid), supervisor.running) == (WorkerState.STOPPING, False)
    assert supervisor.start_failed(pid) == 1
    assert worker.state_of(pid) is WorkerState.FAILED


def test_records_are_shared_until_their_file_is_deleted(tmp_path: Path) -> None:
    records = WorkerRecords(tmp_path)
    assert records.shared
    (tmp_path / worker_records.FILE).unlink()
    assert not records.shared
    WorkerRecords(tmp_path)
    assert not records.shared
    assert not WorkerRecords(None).shared


def test_a_process_that_holds_the_lock_does_not_block_others(tmp_path: Path) -> None:
    records = WorkerRecords(tmp_path)
    with (tmp_path / worker_records.FILE).open("r+b") as stopped:
        assert try_lock(stopped.fileno())
        WorkerRecords(tmp_path).register()
        assert records.start_failed(os.getpid()) == 1


def test_a_running_process_is_alive() -> None:
    assert is_alive(os.getpid())
    assert not is_alive(2**22 + 1)
