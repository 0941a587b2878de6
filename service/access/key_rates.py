"""Rates of keys over all workers of a server: each key has one number in a file that all workers map.

The number is the time at which the key's requests so far would be due if they arrived evenly (the generic cell rate
algorithm, which equals a token bucket). A request is refused if that time is too far in the future.

A worker locks the number before it accepts a request of a key that has used half of its burst: otherwise two workers
could count two requests as one, and the key would exceed its rate. The lock costs two system calls. Below half of its
burst a key is under its rate, and above the burst requests are refused: neither needs a lock.
"""

import contextlib
import fcntl
import hashlib
import logging
import math
import mmap
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from service.worker_records import reserve_space

FILE = "key_rates"
SLOTS = 8192
ENTRY = 2  # numbers per slot: the hash of the key's name, and the time when the next request is due
NUMBER = 8  # bytes
SIZE = NUMBER * ENTRY * SLOTS
UNUSED_S = 60.0  # the slot of a removed key can be reused after this time
DEFAULT_BURST_S = 0.5  # the default burst is the number of requests that the rate allows in this time
log = logging.getLogger("tabserve.keys")


class KeyRate:
    """The rate limit of one key. `take` is called for each request with the key."""

    __slots__ = ("_due", "_file", "_free", "_interval", "_memory", "_tolerance", "per_second")

    def __init__(
        self, memory: "memoryview[float]", file: int | None, due: int, per_second: float, burst: int | None
    ) -> None:
        """file: the mapped file; None if there is only one worker. due: the index of the key's number in `memory`."""
        self._memory = memory
        self._file = file
        self._due = due
        self.per_second = per_second
        self._interval = 1 / per_second
        most = burst_of(per_second, burst)
        self._tolerance = (most - 1) * self._interval + 1e-9
        self._free = most // 2 * self._interval if most > 2 else -math.inf  # up to this value, no lock is needed
        if file is None:
            self._free = self._tolerance

    def take(self) -> float:
        """Count a request. Returns 0 if it is allowed, otherwise the number of seconds until it would be allowed."""
        now = time.monotonic()
        due = self._memory[self._due]
        if due - now < self._free:
            self._memory[self._due] = (due if due > now else now) + self._interval
            return 0.0
        return self._take_locked(now) if self._file is not None and due - now <= self._tolerance else self._count(now)

    def _take_locked(self, now: float) -> float:
        """Count a request while no other worker changes the number. The lock of a killed process is released."""
        assert self._file is not None
        fcntl.lockf(self._file, fcntl.LOCK_EX, NUMBER, NUMBER * self._due)
        try:
            return self._count(now)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, NUMBER, NUMBER * self._due)

    def _count(self, now: float) -> float:
        due = self._memory[self._due]
        if due < now:
            due = now
        excess = due - now - self._tolerance
        if excess > 0:
            return excess
        self._memory[self._due] = due + self._interval
        return 0.0


def burst_of(per_second: float, burst: int | None) -> int:
    """The number of requests that may arrive at the same moment."""
    return burst or max(1, math.ceil(per_second * DEFAULT_BURST_S))


class SharedRates:
    """The state of the rate limits of all keys. Keys of the same name share one state: a key that replaces another does
    not double the rate."""

    def __init__(self, folder: Path | None) -> None:
        """folder: the folder that the workers share; None if there is only one worker."""
        self._file: int | None = None
        self._memory = memoryview(bytearray(SIZE)).cast("d")
        if folder is None:
            return
        try:
            self._file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            reserve_space(self._file, SIZE)
            self._memory = memoryview(mmap.mmap(self._file, SIZE)).cast("d")
        except OSError as error:
            log.warning("workers count the requests of keys separately", extra={"reason": str(error)})
            self._close()

    def indices(self, names: list[str]) -> Mapping[str, int]:
        """The index of each key's number in the memory. It is the same in all workers."""
        with self._locked():
            hashes = {name: name_hash(name) for name in names}
            known = {self._memory[slot]: slot for slot in range(0, ENTRY * SLOTS, ENTRY)}
            wanted = {*hashes.values()}
            free = self._free_slots(wanted)
            indices = {}
            for name, number in hashes.items():
                slot = known.get(number)
                if slot is None:
                    slot = next(free, 0)
                    self._memory[slot] = number
                    self._memory[slot + 1] = 0.0
                indices[name] = slot + 1
            return indices

    def rate(self, index: int, per_second: float, burst: int | None) -> KeyRate:
        return KeyRate(self._memory, self._file, index, per_second, burst)

    def _free_slots(self, wanted: set[float]) -> Iterator[int]:
        """Slots without a key, then those of keys that were removed from the file."""
        slots = range(0, ENTRY * SLOTS, ENTRY)
        yield from (slot for slot in slots if not self._memory[slot])
        now = time.monotonic()
        for slot in slots:
            if self._memory[slot] not in wanted and self._memory[slot + 1] < now - UNUSED_S:
                yield slot

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def name_hash(name: str) -> float:
    """The hash of a name: a number other than 0 that a float represents exactly."""
    return float(int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) + 1)
