"""Hooks into BentoML's supervisor: dead workers are replaced within a second, each server has its own shared folder."""

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from service.server.worker import in_worker

SHARED_FOLDER = "tabserve-shared-"
SHARED_FOLDER_NEW_S = 60  # no other server looks whether it is locked yet


def prepare_supervisor() -> None:
    """What BentoML asks when it starts the workers, after this import: dead ones are replaced, in containers too, and
    within a second; and they share a folder that is of this server alone, where BentoML takes one of the home, which
    the next server on that home empties."""
    if in_worker():  # which starts none, and saves 5 MB of imports
        return
    import functools

    import bentoml._internal.utils.circus as circus
    import bentoml.serving

    os.environ.pop("BENTOML_CONTAINERIZED", None)
    if not isinstance(circus.create_standalone_arbiter, functools.partial):
        circus.create_standalone_arbiter = functools.partial(circus.create_standalone_arbiter, check_delay=1)
    bentoml.serving.ensure_prometheus_dir = new_shared_folder  # type: ignore[assignment]  # asked without arguments


def new_shared_folder() -> str:
    """A folder for this server, removed when it ends. Removes those of servers that could not."""
    for old in Path(tempfile.gettempdir()).glob(f"{SHARED_FOLDER}*"):
        with contextlib.suppress(OSError):  # it is another user's, or its server runs
            if time.time() - old.stat().st_mtime > SHARED_FOLDER_NEW_S:
                os.close(locked(old))
                shutil.rmtree(old)
    folder = Path(tempfile.mkdtemp(prefix=SHARED_FOLDER))
    locked(folder)  # as long as this process lives
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(folder)


def locked(folder: Path) -> int:
    """A file descriptor that holds a folder's lock. Raises BlockingIOError where another process does."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened
