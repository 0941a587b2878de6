"""Counters per time window are summed over workers, outlive workers, and drop windows that have passed."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.file_lock import try_lock
from service import window_counters
from service.window_counters import DAY, HOUR, MINUTE, WEEK, WindowCounters, remove_old_files
from tests.child_processes import kill_at_exit

NOW = 1_800_000_000.0
ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def new_counters(folder: Path | None, clock: Callable[[], float], width: int = 3) -> WindowCounters:
    found = WindowCounters(folder, "drift-fares-1", width, clock)
    found.open()
    return found


def ones(width: int = 3) -> np.ndarray:
    return np.ones(width, dtype=np.int64)


def test_counts_are_summed() -> None:
    """Counts are also added in memory, without a folder."""
    clock = Clock()
    alone = new_counters(None, clock)
    alone.add(np.array([1, 2, 3]))
    alone.add(np.array([1, 0, 0]))
    assert alone.total(HOUR).counts.tolist() == [2, 2, 3]
    assert not alone.is_shared


def test_four_workers_count_the_same_as_one_worker(tmp_path: Path) -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    (tmp_path / "four").mkdir()
    (tmp_path / "one").mkdir()
    four = [new_counters(tmp_path / "four", clock) for _ in range(4)]
    one = new_counters(tmp_path / "one", clock)
    for _ in range(3000):
        clock.now += float(rng.exponential(100))
        counts = rng.integers(0, 2**40, 3)
        four[rng.integers(4)].add(counts)
        one.add(counts)
    for seconds in (MINUTE, 5 * MINUTE, HOUR, 2 * HOUR, DAY, 3 * DAY, WEEK):
        for worker in four:
            assert worker.total(seconds).counts.tolist() == one.total(seconds).counts.tolist()
    assert one.total(WEEK).counts.any()


def test_a_window_exceeds_its_length_by_less_than_a_unit(tmp_path: Path) -> None:
    clock = Clock(NOW // DAY * DAY + 10 * HOUR + 30 * MINUTE + 30)
    found = new_counters(tmp_path, clock)
    for seconds, unit in (
        (MINUTE, MINUTE),
        (HOUR, MINUTE),
        (90 * MINUTE, HOUR),
        (DAY, HOUR),
        (WEEK, DAY),
        (99 * WEEK, DAY),
    ):
        window = found.total(seconds)
        assert window.end == clock.now
        assert min(seconds, WEEK) <= window.end - window.start < min(seconds, WEEK) + unit


@pytest.mark.parametrize(("seconds", "unit"), [(HOUR, MINUTE), (DAY, HOUR), (WEEK, DAY)])
def test_counts_of_passed_windows_are_dropped(tmp_path: Path, seconds: int, unit: int) -> None:
    clock = Clock(NOW // DAY * DAY + 1)
    found = new_counters(tmp_path, clock)
    found.add(ones())
    clock.now += seconds
    assert found.total(seconds).counts.tolist() == [1, 1, 1]
    clock.now += unit
    assert found.total(seconds).counts.tolist() == [0, 0, 0]
    found.add(ones())
    assert found.total(seconds).counts.tolist() == [1, 1, 1]


def test_rows_are_counted_after_the_clock_is_set_back(tmp_path: Path) -> None:
    clock = Clock()
    found = new_counters(tmp_path, clock)
    found.add(ones())
    clock.now -= 5 * HOUR
    assert found.total(WEEK).counts.tolist() == [1, 1, 1], "rows of the same day must be counted"
    assert found.total(HOUR).counts.tolist() == [0, 0, 0], "rows in the future must not be counted"
    found.add(ones())
    assert found.total(HOUR).counts.tolist() == [1, 1, 1]


def test_a_worker_continues_the_file_of_an_ended_worker(tmp_path: Path) -> None:
    clock = Clock()
    first, second = new_counters(tmp_path, clock), new_counters(tmp_path, clock)
    first.add(ones())
    second.add(ones())
    first.close()
    third = new_counters(tmp_path, clock)
    third.add(ones())
    assert len([*tmp_path.iterdir()]) == 2
    assert second.total(HOUR).counts.tolist() == third.total(HOUR).counts.tolist() == [3, 3, 3]
    first.close()  # a second call has no effect
    first.add(ones())  # counts added after close() are dropped
    assert second.total(HOUR).counts.tolist() == [3, 3, 3]


def test_other_subjects_and_widths_are_counted_separately(tmp_path: Path) -> None:
    clock = Clock()
    new_counters(tmp_path, clock).add(ones())
    assert new_counters(tmp_path, clock, width=4).total(HOUR).counts.tolist() == [0] * 4
    assert WindowCounters(tmp_path, "drift-fares-10", 3, clock).total(HOUR).counts.tolist() == [0] * 3


PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from service.window_counters import WindowCounters
counters = WindowCounters(Path(sys.argv[1]), "drift-fares-1", 3)
counters.add(np.array([1, 10, 100]))
print(counters.is_shared, flush=True)
time.sleep(600)
"""


def test_the_counts_of_a_killed_worker_are_kept(tmp_path: Path) -> None:
    """The successor of the worker continues the file."""
    seen = new_counters(tmp_path, time.time)
    for killed in range(1, 3):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        with kill_at_exit(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"True\n"
        assert seen.total(HOUR).counts.tolist() == [killed, 10 * killed, 100 * killed]
    assert len([*tmp_path.iterdir()]) == 2


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 100_000, b"\xff" * (8 * (1 + 94 + 94 * 3))])
def test_a_damaged_counter_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    clock = Clock()
    reader = new_counters(tmp_path, clock)
    reader.add(ones())
    (tmp_path / "drift-fares-1.3.7.counts").write_bytes(content)
    assert reader.total(WEEK).counts.tolist() == [1, 1, 1]
    reader.close()
    (tmp_path / "drift-fares-1.3.0.counts").write_bytes(content)
    again = new_counters(tmp_path, clock)
    assert again.is_shared
    assert again.total(WEEK).counts.tolist() == [0, 0, 0]


def test_without_disk_space_counters_are_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_to_reserve(descriptor: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    clock = Clock()
    other = new_counters(tmp_path, clock)
    other.add(ones())
    monkeypatch.setattr(window_counters, "reserve_space", fail_to_reserve)
    found = new_counters(tmp_path, clock)
    found.add(ones())
    assert found.total(HOUR).counts.tolist() == [2, 2, 2]
    assert "counters are in memory" in caplog.text
    assert not found.is_shared
    assert new_counters(tmp_path / "missing", clock).total(HOUR).counts.tolist() == [0, 0, 0]


def test_deleting_the_folder_loses_only_the_counts_of_other_workers(tmp_path: Path) -> None:
    clock = Clock()
    first, second = new_counters(tmp_path / "state", clock), new_counters(tmp_path / "state", clock)
    assert not first.is_shared, "before the folder exists"
    (tmp_path / "state").mkdir()
    first, second = new_counters(tmp_path / "state", clock), new_counters(tmp_path / "state", clock)
    first.add(ones())
    second.add(ones())
    shutil.rmtree(tmp_path / "state")
    first.add(ones())
    assert first.total(HOUR).counts.tolist() == [2, 2, 2]


def test_old_files_of_ended_workers_are_removed(tmp_path: Path) -> None:
    clock = Clock()
    ended, running = new_counters(tmp_path, clock), new_counters(tmp_path, clock)
    ended.add(ones())
    running.add(ones())
    ended.close()
    (tmp_path / "notes.txt").write_text("not ours")
    remove_old_files(tmp_path, NOW + WEEK)
    assert len([*tmp_path.iterdir()]) == 3
    remove_old_files(tmp_path, NOW + 3 * WEEK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drift-fares-1.3.1.counts", "notes.txt"]


def test_a_file_removed_while_it_is_opened_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def lock_removed_file(descriptor: int) -> bool:
        if not opened:
            (tmp_path / "drift-fares-1.3.0.counts").unlink()
        opened.append(descriptor)
        return try_lock(descriptor)

    monkeypatch.setattr(window_counters, "try_lock", lock_removed_file)
    found = new_counters(tmp_path, Clock())
    found.add(ones())
    assert found.is_shared
    assert [path for path in tmp_path.iterdir() if os.stat(path).st_nlink]
