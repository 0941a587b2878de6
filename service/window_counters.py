"""Counters by time window, summed over the workers of a server: minutes of an hour, hours of a day, days of a week.

Each worker adds to its own file, which all workers read, so no count is lost when a worker dies: the worker that
replaces it continues the file. A worker locks its file, and the system releases the lock when the worker ends. With a
folder that outlives the server, counters survive a restart.

The file is written by system calls, not mapped: if the disk stalls, a call blocks only its thread, but a page fault
would also block the threads that wait for Python's lock.

    file    int64             format
            int64[94]         the start of each window, 0 if it has none: 61 minutes, 25 hours, 8 days
            int64[94, width]  the counts of each window
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.file_lock import try_lock
from service.worker_records import reserve_space

MINUTE, HOUR, DAY = 60, 3600, 86_400
WEEK = 7 * DAY
# the length of a window, and the longest time that windows of this length cover
UNITS = ((MINUTE, HOUR), (HOUR, DAY), (DAY, WEEK))
# one additional window, because the current window is incomplete
RINGS = tuple((unit, longest // unit + 1) for unit, longest in UNITS)
WINDOWS = sum(count for _, count in RINGS)
FORMAT = int.from_bytes(b"tabcnt01", "little")
HEAD = 1 + WINDOWS  # the number of values before the counts
SUFFIX = ".counts"
MAX_SLOTS = 4096
Counts = npt.NDArray[np.int64]
log = logging.getLogger("tabserve.counters")


class CountedWindow(NamedTuple):
    """The counts between two times. `start` and `end` are in seconds since 1970."""

    start: float
    end: float
    counts: Counts


class WindowCounters:
    """`width` counters of one subject, such as a model version. Sums of integers do not depend on their order.

    All methods except `close` may wait for the disk.
    """

    def __init__(self, folder: Path | None, subject: str, width: int, clock: Callable[[], float] = time.time) -> None:
        """folder: None for a single process, whose counters are in memory, as are the counters of a worker without disk
        space.

        subject: a part of the file's name. Counters with a different meaning need a different subject.
        """
        self._folder = folder
        self._prefix = f"{subject}.{width}."
        self._width = width
        self._clock = clock
        self._file: int | None = None
        self._path: Path | None = None
        self._opened = folder is None
        self._failing = False
        self._own = np.zeros(HEAD + WINDOWS * width, dtype=np.int64)

    @property
    def is_shared(self) -> bool:
        """Whether other workers can read the counts of this worker."""
        return self._file is not None

    def open(self) -> None:
        """Continue the file of an ended worker, or create one. Without disk space, the counts stay in memory."""
        if self._opened:
            return
        self._opened = True
        assert self._folder is not None
        try:
            self._open(self._folder)
        except OSError as error:
            log.warning("counters are in memory", extra={"subject": self._prefix, "reason": str(error)})

    def add(self, counts: Counts) -> None:
        """Add to the current minute, hour and day. counts: (width,)."""
        self.open()
        now = int(self._clock())
        starts, rows = self._parts(self._own)
        first = 0
        for unit, size in RINGS:
            place, start = first + now // unit % size, now // unit * unit
            if starts[place] != start:
                # In this order, neither a reader nor a worker that continues the file finds old counts
                starts[place] = 0
                self._write(1 + place, 1)
                rows[place] = 0
            rows[place] += counts
            self._write(HEAD + place * self._width, self._width)
            if starts[place] != start:
                starts[place] = start
                self._write(1 + place, 1)
            first += size

    def total(self, seconds: float) -> CountedWindow:
        """The counts of all workers for this time, at most a week, rounded up to whole minutes, hours or days."""
        now = self._clock()
        unit, longest = next((pair for pair in UNITS if seconds <= pair[1]), UNITS[-1])
        start = (now - min(seconds, longest)) // unit * unit
        counts = np.zeros(self._width, dtype=np.int64)
        for content in self._contents():
            starts, rows = self._parts(content)
            first = sum(size for shorter, size in RINGS if shorter < unit)
            size = longest // unit + 1
            begun = starts[first : first + size]
            counts += rows[first : first + size][(begun >= start) & (begun <= now)].sum(axis=0)
        return CountedWindow(start, now, counts)

    def close(self) -> None:
        """Leave the file to another worker."""
        self._opened = True
        if self._file is not None:
            self._own = np.zeros_like(self._own)  # the counts are in the file, which another worker can continue
            os.close(self._file)
            self._file = self._path = None

    def _parts(self, content: Counts) -> tuple[Counts, Counts]:
        """The starts (WINDOWS,) and the counts (WINDOWS, width) of a file."""
        return content[1:HEAD], content[HEAD:].reshape(WINDOWS, self._width)

    def _contents(self) -> Iterator[Counts]:
        yield self._own
        if self._folder is None:
            return
        for path in self._folder.glob(f"{self._prefix}*{SUFFIX}"):
            if path == self._path:
                continue
            try:
                content = np.frombuffer(path.read_bytes(), dtype=np.int64)
            except (OSError, ValueError):
                continue
            if len(content) == len(self._own) and content[0] == FORMAT:
                yield content

    def _open(self, folder: Path) -> None:
        """Continue the file of a worker that has ended, or create one. Raises OSError."""
        for slot in range(MAX_SLOTS):
            path = folder / f"{self._prefix}{slot}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if try_lock(descriptor) and os.fstat(descriptor).st_nlink:  # 0 links: `remove_old_files` removed it
                    self._read(descriptor)
                    self._file, self._path = descriptor, path
                    return
            finally:
                if self._file is None:
                    os.close(descriptor)
        raise OSError(f"all {MAX_SLOTS} files are in use")

    def _read(self, descriptor: int) -> None:
        """Read the counts of a file, and set the size of the file."""
        size = self._own.nbytes
        reserve_space(descriptor, size)
        os.ftruncate(descriptor, size)
        content = np.frombuffer(bytearray(os.pread(descriptor, size, 0)), dtype=np.int64)
        if len(content) == len(self._own) and content[0] == FORMAT:
            self._own = content
            return
        self._own[0] = FORMAT
        os.pwrite(descriptor, self._own.tobytes(), 0)

    def _write(self, first: int, count: int) -> None:
        """Write some of this worker's numbers to the file. If that fails, they are written when they change again."""
        if self._file is None:
            return
        try:
            os.pwrite(self._file, self._own[first : first + count].tobytes(), first * 8)
        except OSError as error:
            if not self._failing:
                log.warning("counters cannot be written", extra={"subject": self._prefix, "reason": str(error)})
            self._failing = True
        else:
            self._failing = False


def remove_old_files(folder: Path, now: float | None = None) -> None:
    """Remove the files of workers that have ended if all windows of the file have passed."""
    oldest = (time.time() if now is None else now) - WEEK - DAY
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError, ValueError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                starts = np.frombuffer(os.pread(descriptor, HEAD * 8, 0), dtype=np.int64)[1:]
                if try_lock(descriptor) and starts.max(initial=0) < oldest:
                    path.unlink()
            finally:
                os.close(descriptor)
