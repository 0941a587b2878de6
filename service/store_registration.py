"""Registers this server in its store, so that commands on the store can wait until the server serves a change.

The worker with the lowest process id registers the server. A store that cannot be written has no registrations.
"""

import asyncio
import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from models import server_registration
from models.server_registration import WorkerGeneration
from service.following_status import FollowingStatus
from service.periodic_work import repeat
from service.worker_files import WorkerFiles

POLL_S = 0.5
RENEW_S = 5.0
SETTLED_S = 1.0  # a change within one tick of the file system's clock does not change the folder's modification time


class StoreRegistration:
    """The registration. folder: the root of the store. feedback: returns the live metrics as text."""

    def __init__(self, files: WorkerFiles, folder: Path, feedback: Callable[[], Sequence[str]] = tuple) -> None:
        self._files = files
        self._folder = folder
        self._feedback = feedback
        self._supervisor = os.getppid()
        self._id = re.sub(r"[^A-Za-z0-9._-]", "-", f"{socket.gethostname()}-{self._supervisor}")
        self._written: Mapping[int, FollowingStatus] = {}
        self._seen: int | None = None  # modification time of the workers' folder
        self._settled_at = 0.0
        self._renew_at = 0.0

    async def run(self) -> None:
        """Keep the registration up to date until cancelled."""
        if self._files.folder:
            await repeat(self.poll, POLL_S, "this server cannot be registered in the store")

    async def poll(self) -> None:
        """Write the registration if it has changed, and at regular intervals."""
        is_due = time.monotonic() >= self._renew_at
        if not is_due and not self._folder_changed():
            return
        statuses = self._files.statuses()
        if not is_due and statuses == self._written:
            return
        if min(statuses, default=0) == self._files.pid:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._write, statuses)
        self._written, self._renew_at = statuses, time.monotonic() + RENEW_S

    def _folder_changed(self) -> bool:
        """Whether a worker may have replaced its file since the last check. This takes less time than reading all
        files."""
        assert self._files.folder
        try:
            changed_at = os.stat(self._files.folder).st_mtime_ns
        except OSError:  # the folder was deleted
            return True
        if changed_at != self._seen:
            self._seen, self._settled_at = changed_at, time.monotonic() + SETTLED_S
        return time.monotonic() < self._settled_at

    def remove(self) -> None:
        """Remove the registration unless other workers remain. Call it after the files of this worker are removed."""
        if self._files.folder and not self._files.statuses():
            server_registration.remove(self._folder, self._id)

    def _write(self, statuses: Mapping[int, FollowingStatus]) -> None:
        workers = {
            str(pid): WorkerGeneration(status.serving_generation, status.summary) for pid, status in statuses.items()
        }
        wanted = max(status.wanted_generation for status in statuses.values())
        server = server_registration.registration(self._id, self._supervisor, wanted, workers, self._feedback())
        server_registration.write(self._folder, server)
