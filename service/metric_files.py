"""The files that store a worker's metrics. Their disk space is reserved before it is used.

prometheus_client maps sparse files. If the disk is full, writing to a sparse file kills the process (SIGBUS). Here, a
time series without disk space is counted in memory, and moves to the file as soon as there is space.
"""

import functools
import logging
import mmap
import os
import threading
import time
from collections.abc import Callable

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from service.worker_records import WorkerRecords, reserve_space

INITIAL_BYTES = 16 * 1024
ENTRY_BYTES = 40  # maximum size of a time series in addition to its name
RETRY_S = 10.0  # interval between two attempts to reserve space
log = logging.getLogger("tabserve.metrics")


class LostSeries:
    """The time series of this worker without disk space: counts and reports them, and tries again."""

    def __init__(self, records: WorkerRecords, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.RLock()
        self.files: list[ReservedMetricFile] = []
        self._records = records
        self._clock = clock
        self._count = 0
        self._retry_at = 0.0

    @property
    def server_total(self) -> int:
        """The number of lost time series of this server."""
        return self._records.lost_series

    def change(self, difference: int, reason: str = "") -> None:
        before, self._count = self._count, self._count + difference
        self._records.set_lost_series(self._count)
        if not before and self._count:
            self._retry_at = self._clock() + RETRY_S
            log.error("metrics are lost until there is space", extra={"reason": reason})
        elif before and not self._count:
            log.info("metrics are complete again")

    def retry(self) -> None:
        """Move time series to their files if there is space again. Call this once a second."""
        if not self._count or self._clock() < self._retry_at:
            return
        self._retry_at = self._clock() + RETRY_S
        with self.lock:
            for file in self.files:
                file.retry()


def install(records: WorkerRecords) -> LostSeries:
    """Let prometheus_client use ReservedMetricFile. Call this before the first metric is created."""
    lost = LostSeries(records)
    values.MmapedDict = functools.partial(ReservedMetricFile, lost)  # type: ignore[attr-defined, assignment]
    return lost


class ReservedMetricFile(MmapedDict):
    """A file of prometheus_client with reserved disk space, and the time series that have no space in it."""

    def __init__(self, lost: LostSeries, filename: str) -> None:
        self._lost = lost
        self._filename = filename
        self._waiting: dict[str, tuple[float, float]] = {}  # the value and time stamp of each lost time series
        self._f = self._m = None  # type: ignore[assignment]  # there is no file yet
        self._positions: dict[str, int] = {}
        self._used = self._capacity = 0
        lost.files.append(self)

    def read_value(self, key: str) -> tuple[float, float]:
        with self._lost.lock:
            if self._ensure_space(key):
                value: tuple[float, float] = super().read_value(key)  # type: ignore[no-untyped-call]
                return value
            return self._waiting[key]

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        with self._lost.lock:
            if self._ensure_space(key):
                super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
            else:
                self._waiting[key] = value, timestamp

    def retry(self) -> None:
        """Move the time series to the file for which there is space now."""
        for key, (value, timestamp) in list(self._waiting.items()):
            try:
                self._reserve(key)
            except OSError:
                return
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
            del self._waiting[key]
            self._lost.change(-1)

    def close(self) -> None:
        if self._m is not None:
            super().close()  # type: ignore[no-untyped-call]

    def _ensure_space(self, key: str) -> bool:
        """Whether a time series is in the file or can be added. Otherwise it waits in memory."""
        if key in self._positions or key in self._waiting:
            return key in self._positions
        try:
            self._reserve(key)
        except OSError as error:
            self._waiting[key] = 0.0, 0.0
            self._lost.change(+1, f"{self._filename}: {error.strerror}")
            return False
        return True

    def _reserve(self, key: str) -> None:
        """Let the file grow until the time series fits. Raises OSError."""
        self._open()
        assert self._f
        needed, capacity = self._used + len(key.encode()) + ENTRY_BYTES, self._capacity
        while needed > capacity:
            capacity *= 2
        if capacity > self._capacity:
            reserve_space(self._f.fileno(), capacity)
            self._m = mmap.mmap(self._f.fileno(), capacity)
            self._capacity = capacity

    def _open(self) -> None:
        """Create the file at its first use. Raises OSError and then leaves no file, because an empty file cannot be
        read."""
        if self._m is not None:
            return
        part = f"{self._filename}.part"
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            reserve_space(descriptor, INITIAL_BYTES)
            os.replace(part, self._filename)
        except OSError:
            os.unlink(part)
            raise
        finally:
            os.close(descriptor)
        super().__init__(self._filename)
