"""Temporary folders in the store, in which versions are written or deleted.

A version becomes visible and is removed by a single rename, so that a reader of the store never sees a part of it.
BentoML and `store.versions` do not find these folders, because they search for versions one level deeper, where these
folders contain only files.
"""

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from models.file_lock import try_lock

PREFIX = "unfinished-"  # no model of this project has a hyphen in its name
MAX_AGE_S = 86_400.0  # older folders are regarded as abandoned; used only in file systems without locks


@contextlib.contextmanager
def unfinished_folder(store: Path) -> Iterator[Path]:
    """Create a folder, which is locked while it is used and finally removed unless it was renamed."""
    folder, lock = _create(store)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def discard(version: Path) -> None:
    """Delete the folder of a version, which a single rename removes from the store."""
    with unfinished_folder(version.parents[1]) as folder:
        os.rename(version, folder)


def remove_leftovers(store: Path) -> int:
    """Remove folders that ended processes left. Returns the number of removed folders."""
    removed = 0
    for folder in store.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # the store is read-only, or another process was faster
            if _is_left_over(folder):
                shutil.rmtree(folder)
                removed += 1
    return removed


def _create(store: Path) -> tuple[Path, int]:
    while True:
        folder = store / f"{PREFIX}{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process removed the folder with `remove_leftovers`
            continue
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


def _is_left_over(folder: Path) -> bool:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return try_lock(lock)
    except OSError:
        return time.time() - folder.stat().st_mtime > MAX_AGE_S
    finally:
        os.close(lock)
