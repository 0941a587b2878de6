"""Watches files in a separate thread, which notifies the event loop only of changes.

A check in the event loop, or in an executor, would delay requests several times a second even if no file has changed.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

Signature = tuple[int, ...] | None
Signatures = list[Signature]


def file_signature(path: Path | str) -> Signature:
    """A value that changes with the content and the permissions of a file; None without a file."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return None


class FileWatch:
    """Checks files while an event loop waits for a change. A network file system that hangs blocks only the thread.

    interval_s: the time between two checks. name: the name of the thread.
    """

    def __init__(self, paths: Sequence[Path], interval_s: float, name: str) -> None:
        self._paths = [str(path) for path in paths]
        self._interval_s = interval_s
        self._name = name
        self._stop = threading.Event()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def change(self, timeout_s: float) -> None:
        """Wait for a change since the last call, at most `timeout_s`. The first call returns after the first check."""
        if self._loop is None:
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._watch, args=(loop,), name=self._name, daemon=True).start()
            self._loop = loop  # only now: if the thread cannot be started, the next call tries again
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):  # Python 3.11's `wait_for` may lose a cancellation
                await self._changed.wait()
        self._changed.clear()

    def stop(self) -> None:
        self._stop.set()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        seen: Signatures = []
        while not self._stop.is_set():
            if (found := [file_signature(path) for path in self._paths]) != seen:
                seen = found
                try:
                    loop.call_soon_threadsafe(self._changed.set)
                except RuntimeError:  # the event loop is closed
                    return
            self._stop.wait(self._interval_s)
