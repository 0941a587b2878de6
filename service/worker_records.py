"""Shared records of the workers of a server: their states, the number of failed starts, and lost time series.

All workers map one small file. Its space is reserved when the server starts, so that the workers can write to it even
if the disk is full.
"""

import contextlib
import logging
import mmap
import os
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path

from models.file_lock import locked_within

FILE = "workers"
SLOTS = 256
FAILED_STARTS, GIVEN_UP = 0, 1  # the position of each number
FIRST_SLOT, SLOT = 2, 3  # the fields of each worker: process id, state, lost time series
STATE, LOST = 1, 2
SIZE = 4 * (FIRST_SLOT + SLOTS * SLOT)
LOCK_S = 1.0  # the longest wait, so that a worker that is stopped (SIGSTOP) does not delay the other workers
log = logging.getLogger("tabserve.server")


class WorkerState(IntEnum):
    STARTING = 0
    READY = 1
    STOPPING = 2
    FAILED = 3  # the start has failed, and the failure was counted


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not count as running."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:  # the worker ended between opening and reading the file
        return False
    except FileNotFoundError:
        return not Path("/proc").is_dir()  # without /proc, keep the files
    return state != "Z"


def reserve_space(descriptor: int, size: int) -> None:
    """Reserve disk space for a file. Raises OSError if there is no space."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        missing = size - os.fstat(descriptor).st_size
        os.pwrite(descriptor, bytes(missing), size - missing)


class WorkerRecords:
    """The records of one server. A worker must call `register` first."""

    def __init__(self, folder: Path | None) -> None:
        """Creates the file. folder: shared by the workers; None if there is only one worker. Raises OSError."""
        self._file: int | None = None
        self._memory = memoryview(bytearray(SIZE)).cast("i")
        self._own = FIRST_SLOT
        self._path = folder and folder / FILE
        if self._path is not None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with self._locked():
                reserve_space(self._file, SIZE)
                self._memory = memoryview(mmap.mmap(self._file, SIZE)).cast("i")

    @classmethod
    def of_worker(cls, folder: Path | None) -> "WorkerRecords":
        """The records for a worker. If the file was deleted and cannot be created, the worker has its own records."""
        try:
            return cls(folder)
        except OSError as error:
            log.warning("workers cannot see each other", extra={"reason": str(error)})
            return cls(None)

    @property
    def shared(self) -> bool:
        """Whether workers that start now use these records; False if the file was deleted."""
        try:
            return bool(self._path and self._file and os.path.samestat(os.fstat(self._file), self._path.stat()))
        except OSError:
            return False

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def register(self) -> None:
        """Record that this process is a worker that is starting."""
        with self._locked():
            pid = os.getpid()
            free = (
                slot for slot in self._slots() if self._memory[slot] in (0, pid) or not is_alive(self._memory[slot])
            )
            self._own = next(free, FIRST_SLOT)
            for offset, value in enumerate((pid, WorkerState.STARTING, 0)):
                self._memory[self._own + offset] = value

    def started(self) -> None:
        """Record that this worker has started."""
        self._memory[self._own + STATE] = WorkerState.READY
        self._memory[FAILED_STARTS] = 0

    def stopping(self) -> None:
        """Record that this worker is stopping: it will accept no more requests, and then end."""
        self._memory[self._own + STATE] = WorkerState.STOPPING

    def state_of(self, pid: int) -> WorkerState | None:
        """The state of a worker; None if it has not registered."""
        slot = self._slot_of(pid)
        return None if slot is None else WorkerState(self._memory[slot + STATE])

    @property
    def pids(self) -> set[int]:
        """The process ids of the workers that have registered; some may have ended."""
        return {self._memory[slot] for slot in self._slots()} - {0}

    @property
    def running(self) -> bool:
        """Whether a worker has started and runs."""
        ready = (slot for slot in self._slots() if self._memory[slot + STATE] == WorkerState.READY)
        return any(is_alive(self._memory[slot]) for slot in ready)

    def start_failed(self, pid: int) -> int:
        """Count the failed start of a worker. Returns the number of failed starts since the last successful start."""
        with self._locked():
            if (slot := self._slot_of(pid)) is not None:
                self._memory[slot + STATE] = WorkerState.FAILED
            self._memory[FAILED_STARTS] += 1
            return self.failed_starts

    @property
    def failed_starts(self) -> int:
        return self._memory[FAILED_STARTS]

    def give_up(self) -> None:
        """Record that no worker can start."""
        self._memory[GIVEN_UP] = 1

    @property
    def given_up(self) -> bool:
        return bool(self._memory[GIVEN_UP])

    def set_lost_series(self, count: int) -> None:
        """Record the number of lost time series of this worker."""
        self._memory[self._own + LOST] = count

    @property
    def lost_series(self) -> int:
        """The total number of lost time series of all live workers."""
        losing = (slot for slot in self._slots() if self._memory[slot + LOST])
        return sum(self._memory[slot + LOST] for slot in losing if is_alive(self._memory[slot]))

    def _slots(self) -> Iterable[int]:
        return range(FIRST_SLOT, len(self._memory), SLOT)

    def _slot_of(self, pid: int) -> int | None:
        return next((slot for slot in self._slots() if self._memory[slot] == pid), None)

    def _locked(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if self._file is None else locked_within(self._file, LOCK_S)
