"""A server is registered in its store while it has a worker."""

import asyncio
import os
from pathlib import Path

from models import server_registration
from service.following_status import FollowingStatus
from service.store_registration import StoreRegistration
from service.worker_files import WorkerFiles


def test_the_last_worker_removes_the_registration(tmp_path: Path) -> None:
    shared, store = tmp_path / "shared", tmp_path / "store"
    shared.mkdir()
    store.mkdir()
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
