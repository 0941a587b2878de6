"""Limits the memory for request bodies in flight, so that a worker does not exceed its memory limit."""

import ctypes
import os
import threading
from pathlib import Path

from models.freed_memory import set_thresholds
from service.errors import OutOfMemory

FREE_BYTES = 64 * 1024  # a smaller body does not count: a connection has such buffers anyway
MEMORY_PER_BYTE = 6  # peak memory of a request for each byte of its body
KEPT_BYTES = 48 * 1024**2  # memory that a worker may keep after large requests, for the next ones
KEPT_UNDER_LOAD_BYTES = 128 * 1024**2  # while large requests are in flight, which soon need it again
SMALL_BUDGET_BYTES = 512 * 1024**2
LARGE_BLOCK_BYTES = 4 * 1024**2
KEPT_SHARE = 0.1  # share of the budget that a worker may keep, if that is less
USABLE = 0.9  # usable share of the limit: the rest is for the kernel and for files in memory
SUPERVISOR_BYTES = 80 * 1024**2
LEAST_BYTES = 16 * 1024**2  # minimum budget of a worker, even if less memory is left
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
MACHINE = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
OWN_MEMORY = Path("/proc/self/smaps_rollup")


class MemoryBudget:
    """Bytes that are reserved by requests in progress. limit: None if they are not limited. Usable in all threads."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.reserved = 0
        self._lock = threading.Lock()

    def reserve(self, count: int, held: int) -> None:
        """Reserve more bytes for a request that holds some already. Raises OutOfMemory while others have to end first.

        The only request in progress may take more than the limit, so that every body that the settings allow is
        accepted at some time.
        """
        with self._lock:
            if self.limit is not None and self.reserved + count > self.limit and self.reserved > held:
                raise OutOfMemory
            self.reserved += count

    def release(self, count: int) -> None:
        with self._lock:
            self.reserved -= count


class Reservation:
    """The part of the budget that one request holds. Usable in all threads: a thread may continue after `close`."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._closed = False
        self.held = 0

    def resize(self, count: int) -> None:
        """Hold this many bytes. Raises OutOfMemory, also after `close`."""
        with self._lock:
            if self._closed:
                raise OutOfMemory
            if count > self.held:
                self._budget.reserve(count - self.held, self.held)
            else:
                self._budget.release(self.held - count)
            self.held = count

    def grow(self, count: int) -> None:
        """Hold at least this many bytes. Raises OutOfMemory."""
        if count > self.held:
            self.resize(count)

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            self._budget.release(self.held)
            self._closed, self.held = True, 0


def return_large_blocks(budget: MemoryBudget) -> None:
    """Under a small budget, let the C library return large blocks of memory as soon as they are freed.

    By default it keeps blocks of up to 32 MiB for the next ones, in each thread.
    """
    if budget.limit is not None and budget.limit < SMALL_BUDGET_BYTES:
        set_thresholds(LARGE_BLOCK_BYTES, 2 * LARGE_BLOCK_BYTES)


class MemoryTrimmer:
    """Returns memory to the system that the C library keeps after large requests, which fragments and adds up."""

    def __init__(self) -> None:
        """Created when the worker is ready and serves nothing yet."""
        self._ready_bytes = resident_bytes()
        library = ctypes.CDLL(None)
        self._trim = library.malloc_trim if hasattr(library, "malloc_trim") else None  # only the GNU library has it

    def is_needed(self, budget: "MemoryBudget") -> bool:
        """Whether the process holds much more than at the start and than the requests in flight have reserved."""
        kept = KEPT_UNDER_LOAD_BYTES if budget.reserved else KEPT_BYTES
        if budget.limit is not None:
            kept = min(kept, int(KEPT_SHARE * budget.limit))
        return self._trim is not None and resident_bytes() > self._ready_bytes + budget.reserved + kept

    def trim(self) -> None:
        """Takes milliseconds; call it in a thread."""
        assert self._trim
        self._trim(0)


def resident_bytes() -> int:
    """The memory of this process; 0 on a system without /proc."""
    try:
        return int(STATM.read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def memory_of_body(size: int) -> int:
    """The bytes to reserve for a body of this size, of HTTP or gRPC."""
    return MEMORY_PER_BYTE * size if size > FREE_BYTES else 0


def worker_budget(limit: int, workers: int) -> int:
    """Bytes for the bodies of one worker, which is ready and serves nothing yet. limit: of all of them."""
    share = (int(limit * USABLE) - SUPERVISOR_BYTES) // workers
    return max(share - own_bytes(), LEAST_BYTES)


def own_bytes() -> int:
    """The memory of this process; shared memory is counted in part."""
    return read_kilobytes(OWN_MEMORY, "Pss:") or 100 * 1024**2


def memory_limit() -> int | None:
    """Bytes that this process and its siblings may take: of their control group, or of the machine."""
    limits = [read_kilobytes(MACHINE, "MemTotal:"), *group_limits()]
    return min((limit for limit in limits if limit), default=None)


def group_limits() -> list[int]:
    """Limits of the control group of this process and of those around it, both versions of control groups."""
    try:
        lines = OWN_GROUP.read_text().splitlines()
    except OSError:
        lines = []
    files = [GROUPS / "memory.max", GROUPS / "memory/memory.limit_in_bytes"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root, name = (GROUPS, "memory.max") if not controllers else (GROUPS / "memory", "memory.limit_in_bytes")
        if not controllers or "memory" in controllers.split(","):
            own = root / path.lstrip("/")
            files += [folder / name for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return [limit for file in files if (limit := read_number(file)) is not None]


def read_number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # there is none, or `max`
        return None


def read_kilobytes(file: Path, name: str) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
