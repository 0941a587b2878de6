"""The number of connections of each worker: one memory-mapped file per worker in a shared folder."""

import contextlib
import mmap
import os
from pathlib import Path

from service.worker_records import is_alive

MAX_LEAD = 2  # maximum lead over the worker with the fewest connections
CONNECTIONS_PER_LEAD = 16  # own connections for which the maximum lead grows by one
UNSHARED_CAPACITY = 64  # the capacity if there is only one worker
PREFIX = "connections_"


class ConnectionCounts:
    """The connection counts of this worker and of the other workers."""

    def __init__(self, folder: Path | None) -> None:
        """folder: the folder that the workers share; None if there is only one worker."""
        self._folder = folder
        self._own_file = folder and folder / f"{PREFIX}{os.getpid()}"
        self._others: dict[str, memoryview] = {}
        self._own = memoryview(bytearray(4)).cast("i")
        if self._own_file:
            # a file of a dead worker with the same process id, which other workers may map
            self._own_file.unlink(missing_ok=True)
            self._own_file.write_bytes(bytes(4))
            self._own = mapped(self._own_file)
        self.refresh()

    def publish(self, count: int) -> None:
        """Set the count of this worker."""
        self._own[0] = count

    def capacity(self, count: int) -> int:
        """The number of connections that this worker may accept if it has `count`. Below 1, it may accept none."""
        if not self._others:
            return UNSHARED_CAPACITY
        fewest = min(other[0] for other in self._others.values())
        return fewest + MAX_LEAD + count // CONNECTIONS_PER_LEAD - count

    def refresh(self) -> None:
        """Find new workers and forget dead workers."""
        if not self._folder:
            return
        files = [file for file in self._folder.glob(f"{PREFIX}*") if file.name[len(PREFIX) :].isdecimal()]
        found = {file.name: file for file in files if file != self._own_file}
        for name, file in list(found.items()):
            if not is_alive(int(name[len(PREFIX) :])):
                file.unlink(missing_ok=True)
                del found[name]
            elif name not in self._others:
                with contextlib.suppress(OSError, ValueError):  # removed meanwhile, or not written yet
                    self._others[name] = mapped(file)
        for name in self._others.keys() - found.keys():
            del self._others[name]

    def close(self) -> None:
        """Remove the file of this worker."""
        if self._own_file:
            self._own_file.unlink(missing_ok=True)


def mapped(file: Path) -> memoryview:
    """The number in a file, shared by all processes that map the file."""
    with file.open("r+b") as opened:
        return memoryview(mmap.mmap(opened.fileno(), 4)).cast("i")
