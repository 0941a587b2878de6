"""A change of watched files is reported to the event loop, which runs nothing while there is no change."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.atomic_file import replace_file
from service.file_watch import FileWatch, file_signature

NAME = "watch-test"
LONG_S = 30.0


def watching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_each_change_is_reported(tmp_path: Path, runner: asyncio.Runner) -> None:
    file = tmp_path / "file"
    watch = FileWatch([file], 0.01, NAME)
    for content in (b"1", b"2", b"3"):
        replace_file(file, content)
        started = time.monotonic()
        runner.run(watch.change(LONG_S))
        assert time.monotonic() - started < LONG_S
    file.unlink()
    runner.run(watch.change(LONG_S))
    watch.stop()


def test_a_change_during_the_work_after_a_change_is_reported(tmp_path: Path, runner: asyncio.Runner) -> None:
    file = tmp_path / "file"
    watch = FileWatch([file], 0.01, NAME)
    file.write_bytes(b"1")
    runner.run(watch.change(LONG_S))
    file.write_bytes(b"22")
    runner.run(asyncio.sleep(0.1))
    started = time.monotonic()
    runner.run(watch.change(LONG_S))
    assert time.monotonic() - started < LONG_S
    watch.stop()


def test_checks_without_a_change_do_not_wake_the_event_loop(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[threading.Thread] = []
    monkeypatch.setattr("service.file_watch.file_signature", lambda path: checks.append(threading.current_thread()))
    watch = FileWatch([tmp_path / "file"], 0.001, NAME)
    runner.run(watch.change(LONG_S))
    started = time.monotonic()
    runner.run(watch.change(0.2))
    assert time.monotonic() - started >= 0.2
    assert len(checks) > 2
    assert threading.main_thread() not in checks
    watch.stop()


def test_a_check_that_hangs_does_not_block_the_event_loop(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr("service.file_watch.file_signature", lambda path: released.wait(LONG_S))
    watch = FileWatch([tmp_path / "file"], 0.001, NAME)
    runner.run(watch.change(0.05))
    released.set()
    runner.run(watch.change(LONG_S))
    watch.stop()


def test_the_thread_ends_with_the_watch(tmp_path: Path, runner: asyncio.Runner) -> None:
    watch = FileWatch([tmp_path / "file"], 0.01, NAME)
    runner.run(watch.change(LONG_S))
    assert watching_threads()
    watch.stop()
    for thread in watching_threads():
        thread.join(LONG_S)
    assert not watching_threads()


def test_the_signature_changes_with_content_and_permissions(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert file_signature(file) is None
    file.write_bytes(b"1")
    found = [file_signature(file)]
    time.sleep(0.02)  # longer than the clock resolution of the file system
    file.chmod(0o600)
    found.append(file_signature(file))
    replace_file(file, b"2")
    found.append(file_signature(file))
    assert None not in found
    assert len(set(found)) == 3
