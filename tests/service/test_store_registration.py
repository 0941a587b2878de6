"""A server is registered in its store while it has a worker."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from models import server_registration
from service.following_status import FollowingStatus
from service.store_registration import StoreRegistration
from service.worker_files import WorkerFiles


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The folder that the workers share."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def test_the_last_worker_removes_the_registration(shared: Path, store: Path) -> None:
    first, last = [WorkerFiles(shared, pid) for pid in sorted((os.getpid(), os.getppid()))]  # both run
    for files in (first, last):
        files.publish(FollowingStatus(wanted_generation=3, serving_generation=3))
    registration = StoreRegistration(first, store)
    asyncio.run(registration.poll())
    (server,) = server_registration.read(store)
    assert server.serving_generation == 3
    assert server.workers.keys() == {str(first.pid), str(last.pid)}
    first.remove()
    registration.remove()
    assert server_registration.read(store), "another worker remains"
    last.remove()
    StoreRegistration(last, store).remove()
    assert not server_registration.read(store)


def test_a_change_of_a_worker_is_registered_and_an_unchanged_folder_is_not_read(
    shared: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = WorkerFiles(shared, os.getpid())
    files.publish(FollowingStatus(wanted_generation=1, serving_generation=1))
    registration = StoreRegistration(files, store)

    def registered_generation() -> int:
        asyncio.run(registration.poll())
        (server,) = server_registration.read(store)
        return server.serving_generation

    assert registered_generation() == 1
    for generation in (2, 3):
        files.publish(FollowingStatus(wanted_generation=generation, serving_generation=generation))
        assert registered_generation() == generation
    registration._settled_at = 0.0  # instead of waiting
    monkeypatch.setattr(WorkerFiles, "statuses", lambda files: pytest.fail("the folder has not changed"))
    assert registered_generation() == 3


def test_a_worker_registers_the_server_after_the_first_worker_has_ended(shared: Path, store: Path) -> None:
    processes = sorted((subprocess.Popen(["sleep", "60"]) for _ in range(2)), key=lambda process: process.pid)
    first, last = (WorkerFiles(shared, process.pid) for process in processes)
    try:
        for files in (first, last):
            files.publish(FollowingStatus(wanted_generation=1, serving_generation=1))
        registration = StoreRegistration(last, store)
        asyncio.run(registration.poll())
        assert not server_registration.read(store), "the first worker registers the server"
        processes[0].kill()
        processes[0].wait()
        registration._renew_at = 0.0  # instead of waiting
        asyncio.run(registration.poll())
        (server,) = server_registration.read(store)
        assert server.workers.keys() == {str(last.pid)}
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_deleted_folder_does_not_stop_the_registration(shared: Path, store: Path) -> None:
    files = WorkerFiles(shared, os.getpid())
    files.publish(FollowingStatus(wanted_generation=1, serving_generation=1))
    registration = StoreRegistration(files, store)
    asyncio.run(registration.poll())
    shutil.rmtree(shared)
    asyncio.run(registration.poll())
