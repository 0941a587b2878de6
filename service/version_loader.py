"""Loads versions while the server answers requests: one by one, in a thread of low priority and in short turns."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from models.file_lock import lock_if_possible
from models.text import truncate
from models.version_files import StoredVersion, StoreError
from service.data_plane import DataPlane
from service.served_model import ServedModel
from service.short_turns import short_turns
from service.thread_priority import lower_priority
from service.version_check import load_with_check

LOCK_FILE = "loading.lock"
LOCK_S = 60.0  # the longest wait for another worker that is loading a version
T = TypeVar("T")


class VersionLoader:
    """The loader. folder: shared by the workers, one of which loads at a time; None if there is only one worker."""

    def __init__(self, plane: DataPlane, folder: Path | None = None) -> None:
        self._plane = plane
        self._lock_file = folder and folder / LOCK_FILE
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load-version", initializer=lower_priority)

    async def load(self, stored: StoredVersion) -> ServedModel:
        """Load and check a version, and measure its engine. Raises StoreError."""
        return await self.run(self._load, stored)

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Run other work of a version change in the same thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, in_short_turns, work, *arguments)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _load(self, stored: StoredVersion) -> ServedModel:
        try:
            with self._exclusive():
                return self._plane.load(load_with_check(stored, self._plane.settings))
        except StoreError:
            raise
        except Exception as error:  # an engine can raise any exception, and the workers wait for a reply
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise StoreError(f"{stored.tag} cannot be loaded: {truncate(reason, 300)}") from error

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Wait until no other worker loads a version. Simultaneous loads would need the memory and processor time of
        each."""
        if self._lock_file is None:
            yield
            return
        opened = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            lock_if_possible(opened, LOCK_S)
            yield
        finally:
            os.close(opened)


def in_short_turns(work: Callable[..., T], *arguments: object) -> T:
    with short_turns():
        return work(*arguments)
