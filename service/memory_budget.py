"""Limits the memory for request bodies in flight, so that a worker does not exceed its memory limit."""

import ctypes
import os
import threading
from pathlib import Path

from models.freed_memory import set_thresholds
from service.errors import OutOfMemory

FREE_BYTES = 64 * 1024  # smaller bodies are not counted: each connection has buffers of this size
MEMORY_PER_BYTE = 6  # peak memory of a request for each byte of its body
KEPT_BYTES = 48 * 1024**2  # memory that a worker may keep after large requests, for later requests
KEPT_UNDER_LOAD_BYTES = 128 * 1024**2  # the same while large requests are in flight, which need the memory again soon
SMALL_BUDGET_BYTES = 512 * 1024**2
LARGE_BLOCK_BYTES = 4 * 1024**2
KEPT_SHARE = 0.1  # upper limit of the kept memory as a fraction of the budget
USABLE = 0.9  # usable fraction of the limit: the rest is for the kernel and for files in memory
SUPERVISOR_BYTES = 80 * 1024**2
MIN_BYTES = 16 * 1024**2  # minimum budget of a worker, even if less memory is left
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
MACHINE = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
OWN_MEMORY = Path("/proc/self/smaps_rollup")


class MemoryBudget:
    """The bytes that requests in progress have reserved. limit: None for no limit. All threads may use it."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.reserved = 0
        self._lock = threading.Lock()

    def reserve(self, count: int, reserved: int) -> None:
        """Reserve more bytes for a request with `reserved` bytes. Raises OutOfMemory until other requests have ended.

        A request may exceed the limit if it is the only request in progress. Each body that the settings allow is
        therefore accepted eventually.
        """
        with self._lock:
            if self.limit is not None and self.reserved + count > self.limit and self.reserved > reserved:
                raise OutOfMemory
            self.reserved += count

    def release(self, count: int) -> None:
        with self._lock:
            self.reserved -= count


class Reservation:
    """The part of the budget that one request has reserved. All threads may use it, even after `close`."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._closed = False
        self.held = 0

    def resize(self, count: int) -> None:
        """Change the reservation to this number of bytes. Raises OutOfMemory, also after `close`."""
        with self._lock:
            if self._closed:
                raise OutOfMemory
            if count > self.held:
                self._budget.reserve(count - self.held, self.held)
            else:
                self._budget.release(self.held - count)
            self.held = count

    def grow(self, count: int) -> None:
        """Reserve at least this number of bytes. Raises OutOfMemory."""
        if count > self.held:
            self.resize(count)

    def close(self) -> None:
        """Release all bytes."""
        with self._lock:
            self._budget.release(self.held)
            self._closed, self.held = True, 0


def return_large_blocks(budget: MemoryBudget) -> None:
    """Under a small budget, let the C library return large blocks of memory as soon as they are freed.

    By default, it keeps blocks of up to 32 MiB in each thread for later use.
    """
    if budget.limit is not None and budget.limit < SMALL_BUDGET_BYTES:
        set_thresholds(LARGE_BLOCK_BYTES, 2 * LARGE_BLOCK_BYTES)


class MemoryTrimmer:
    """Returns to the system the memory that the C library keeps after large requests, which would accumulate."""

    def __init__(self) -> None:
        """Create the trimmer when the worker is ready, before its first request."""
        self._ready_bytes = resident_bytes()
        library = ctypes.CDLL(None)
        self._trim = library.malloc_trim if hasattr(library, "malloc_trim") else None  # only glibc has this function

    def is_needed(self, budget: "MemoryBudget") -> bool:
        """Whether the process uses much more memory than the sum of what it used at the start and what requests in
        flight have reserved."""
        kept = KEPT_UNDER_LOAD_BYTES if budget.reserved else KEPT_BYTES
        if budget.limit is not None:
            kept = min(kept, int(KEPT_SHARE * budget.limit))
        return self._trim is not None and resident_bytes() > self._ready_bytes + budget.reserved + kept

    def trim(self) -> None:
        """Return free memory to the system. This takes milliseconds, so call it in a thread."""
        assert self._trim
        self._trim(0)


def resident_bytes() -> int:
    """The memory of this process; 0 on a system without /proc."""
    try:
        return int(STATM.read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def memory_of_body(size: int) -> int:
    """The bytes to reserve for an HTTP or gRPC body of this size."""
    return MEMORY_PER_BYTE * size if size > FREE_BYTES else 0


def worker_budget(limit: int, workers: int) -> int:
    """The bytes for bodies in this worker, before its first request. limit: the memory limit of all workers."""
    share = (int(limit * USABLE) - SUPERVISOR_BYTES) // workers
    return max(share - process_bytes(), MIN_BYTES)


def process_bytes() -> int:
    """The memory of this process, with its proportional part of shared memory."""
    return read_kilobytes(OWN_MEMORY, "Pss:") or 100 * 1024**2


def memory_limit() -> int | None:
    """The bytes that the processes of the server may use: the limit of their control group or of the machine."""
    limits = [read_kilobytes(MACHINE, "MemTotal:"), *group_limits()]
    return min((limit for limit in limits if limit), default=None)


def group_limits() -> list[int]:
    """The memory limits of this process's control group and its parents, for both versions of control groups."""
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
    except (OSError, ValueError):  # no file, or the text `max`
        return None


def read_kilobytes(file: Path, name: str) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
