"""Changes BentoML's supervisor: it replaces dead workers within a second, and gives each server its own folder."""

import atexit
import contextlib
import errno
import functools
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bentoml.exceptions import BentoMLException

from models.file_lock import try_lock
from models.library_hook import LibraryHookMissing, check_all, require
from service.server.library_hooks import bentoml_hooks
from service.server.parent_process import LAUNCHER_VARIABLE, end_with_parent
from service.server.stop_signals import StopSignals
from service.server.worker import SHARED_FOLDER_PREFIX, SHARED_FOLDER_VARIABLE, SUPERVISOR_VARIABLE, in_worker
from service.server.worker_watch import WorkerWatch
from service.worker_records import WorkerRecords

UNLOCKED_S = 60  # a newer folder may not be locked yet
CHECK_INTERVAL_S = 1  # interval between two checks for dead workers
LEAST_FREE_BYTES = 512 * 1024  # twice the space for the metrics of two workers


def install_supervisor_hooks(grace_s: float, start_s: float) -> None:
    """Replace the two functions with which BentoML starts workers. Raises LibraryHookMissing if it does not call them.

    grace_s: how long workers accept connections after SIGTERM. start_s: how long a worker may take to start. Does
    nothing in a worker, which saves 5 MB of imports.
    """
    if in_worker():
        return
    if os.environ.get(LAUNCHER_VARIABLE) == str(os.getppid()):
        end_with_parent(os.getppid(), signal.SIGTERM)
    check_all(bentoml_hooks.SUPERVISOR_HOOKS)
    import bentoml._internal.utils.circus as circus
    import bentoml.serving

    if not hasattr(circus.create_standalone_arbiter, "__wrapped__"):
        circus.create_standalone_arbiter = supervised(circus.create_standalone_arbiter, grace_s, start_s)
    bentoml.serving.ensure_prometheus_dir = new_shared_folder  # type: ignore[assignment]  # called without arguments


def supervised(create_arbiter: Callable[..., Any], grace_s: float, start_s: float) -> Callable[..., Any]:
    """Wrap a function that creates an arbiter. Its arbiters replace dead workers soon and use `StopSignals`."""

    @functools.wraps(create_arbiter)
    def create(watchers: Sequence[Any], **options: Any) -> Any:
        for watcher in watchers:
            prepare_watcher(watcher)
        arbiter = create_arbiter(watchers, **{"check_delay": CHECK_INTERVAL_S, **options})
        arbiter.loop.time = time.monotonic  # if the wall clock were set back, the checks for dead workers would stop
        with as_start_error():
            StopSignals(arbiter, grace_s).install()
        start = arbiter.start
        folders = [Path(watcher.env[SHARED_FOLDER_VARIABLE]) for watcher in watchers]
        for watcher, folder in zip(watchers, folders, strict=True):
            WorkerWatch(arbiter, watcher, WorkerRecords.of_worker(folder), start_s, grace_s).install()

        def start_and_exit(*arguments: Any, **named: Any) -> None:
            start(*arguments, **named)  # returns when the server has stopped
            if any(WorkerRecords.of_worker(folder).given_up for folder in folders):
                sys.exit(1)

        arbiter.start = start_and_exit
        return arbiter

    return create


@contextlib.contextmanager
def as_start_error() -> Iterator[None]:
    """Report a missing hook as an error that makes BentoML cancel the start."""
    try:
        yield
    except LibraryHookMissing as error:
        raise BentoMLException(str(error)) from None


def prepare_watcher(watcher: Any) -> None:
    """Let a watcher replace workers in containers, too, and set SUPERVISOR_VARIABLE. Raises BentoMLException."""
    with as_start_error():
        for hook, argument in (
            (bentoml_hooks.WORKER_PROCESS, bentoml_hooks.WORKER_MODULE),
            (bentoml_hooks.LISTENER_ARGUMENT, "--fd"),
        ):
            if argument not in watcher.args:
                require(hook, f"a worker is started by {watcher.args!r}")
        if not hasattr(watcher, "respawn"):
            require(bentoml_hooks.RESPAWN, "a watcher has no such attribute")
    watcher.respawn = True
    watcher.env[SUPERVISOR_VARIABLE] = str(os.getpid())


def new_shared_folder() -> str:
    """Create a folder that is deleted when the server ends. Raises BentoMLException if there is no space for it."""
    place: Path | str = "the temporary folder"
    try:
        place = temporary_folder()
        remove_old_folders(place)
        folder = Path(tempfile.mkdtemp(prefix=SHARED_FOLDER_PREFIX, dir=place))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        lock_folder(folder)  # held for the lifetime of this process
        WorkerRecords(folder).close()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BentoMLException(f"{place} cannot be used: {error.strerror or error}; set TMPDIR") from None
    if free < LEAST_FREE_BYTES:
        needed, found = LEAST_FREE_BYTES // 1024, free // 1024
        raise BentoMLException(f"{place} has {found} KB free, a server needs {needed} KB there; set TMPDIR")
    return str(folder)


def temporary_folder() -> Path:
    """TMPDIR if it exists, otherwise Python's choice. Python would also choose another folder if TMPDIR is full."""
    named = Path(os.environ.get("TMPDIR", ""))
    return named if named.is_absolute() and named.is_dir() else Path(tempfile.gettempdir())


def remove_old_folders(place: Path) -> None:
    """Remove the folders of servers that were killed."""
    for old in place.glob(f"{SHARED_FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):  # the folder belongs to another user, or its server is running
            if time.time() - old.stat().st_mtime > UNLOCKED_S:
                os.close(lock_folder(old))
                shutil.rmtree(old)


def lock_folder(folder: Path) -> int:
    """Lock a folder. Returns the file descriptor with the lock. Raises BlockingIOError if another process has locked
    it."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if not try_lock(opened):
            raise BlockingIOError(errno.EAGAIN, "another process has locked it", str(folder))
    except OSError:
        os.close(opened)
        raise
    return opened
