"""Locks of open files. A lock ends with its process."""

import contextlib
import fcntl
import time
from collections.abc import Iterator

POLL_SECONDS = 0.01


def try_lock(descriptor: int) -> bool:
    """Lock a file for this process. Returns false if another process has the lock. Raises OSError in a file system
    without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_within(descriptor: int, seconds: float) -> bool:
    """Wait for the lock. Returns false if another process still has it after this time. Raises OSError as `try_lock`
    does."""
    deadline = time.monotonic() + seconds
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


@contextlib.contextmanager
def locked_within(descriptor: int, seconds: float) -> Iterator[bool]:
    """Hold the lock if it becomes free within this time. Yields whether the lock is held. Raises OSError as `try_lock`
    does."""
    held = lock_within(descriptor, seconds)
    try:
        yield held
    finally:
        if held:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def lock_if_possible(descriptor: int, seconds: float) -> bool:
    """Wait for the lock as `lock_within` does. Returns false immediately in a file system without locks."""
    try:
        return lock_within(descriptor, seconds)
    except OSError:
        return False
