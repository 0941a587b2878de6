"""The worker process: its supervisor, its shared folder, its address and its failed starts."""

import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import uvicorn

from models.library_hook import LibraryHookMissing, require
from service.server.library_hooks import bentoml_hooks, uvicorn_hooks
from service.server.parent_process import end_with_parent
from service.worker_records import WorkerRecords

MAX_FAILED_STARTS = 3
MAX_WAIT_S = 30.0  # maximum delay between two starts
# maximum number of times that the delay is doubled, because the power for a large number of failed starts would
# overflow
MAX_DOUBLINGS = 10
SHARED_FOLDER_PREFIX = "tabserve-shared-"
SHARED_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SUPERVISOR_VARIABLE = "SUPERVISED_BY_TABSERVE"  # the process id of the supervisor, set for its workers
log = logging.getLogger("tabserve.server")


def in_worker() -> bool:
    """Whether this process is a worker of `bentoml serve`, and not its supervisor, a build or a test."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == bentoml_hooks.WORKER_MODULE


def check_supervisor() -> None:
    """Raises LibraryHookMissing in a worker that the supervisor of service.server.supervisor has not started."""
    if not in_worker():
        return
    if os.environ.get(SUPERVISOR_VARIABLE) != str(os.getppid()):
        require(bentoml_hooks.ARBITER, "this worker was started in another way")
    folder = shared_folder()
    if folder is None or not folder.name.startswith(SHARED_FOLDER_PREFIX):
        require(bentoml_hooks.SHARED_FOLDER, f"{SHARED_FOLDER_VARIABLE} is {folder}")
    if "--fd" not in sys.argv:
        require(bentoml_hooks.LISTENER_ARGUMENT, "this worker was started without it")


def end_with_supervisor() -> None:
    """End this worker with its supervisor. Otherwise it would occupy the port, and the server could not restart."""
    supervisor = os.environ.get(SUPERVISOR_VARIABLE, "")
    if in_worker() and supervisor.isdecimal():
        end_with_parent(int(supervisor), signal.SIGKILL)


def record_failed_start(reason: str) -> None:
    """Record that this worker cannot start. After MAX_FAILED_STARTS in a row, stop the server if no worker runs."""
    if not in_worker():
        return
    records = WorkerRecords.of_worker(shared_folder())
    times = records.start_failed(os.getpid())
    log.error("worker cannot start", extra={"reason": reason, "times": times})
    give_up_if_no_worker_runs(records, reason, os.getppid())


def give_up_if_no_worker_runs(records: WorkerRecords, reason: str, supervisor: int) -> None:
    """Stop the server after MAX_FAILED_STARTS in a row if no worker runs. supervisor: its process id."""
    if records.failed_starts >= MAX_FAILED_STARTS and not records.running:
        log.error("no worker can start, stopping the server", extra={"reason": reason})
        records.give_up()
        os.kill(supervisor, signal.SIGTERM)


def start_delay(records: WorkerRecords) -> float:
    """The seconds to wait before another start if several starts have failed, because running workers need the
    processor."""
    failed = records.failed_starts - MAX_FAILED_STARTS
    return min(2.0 ** min(failed, MAX_DOUBLINGS), MAX_WAIT_S) if failed >= 0 and records.running else 0.0


def wait_after_failed_starts(records: WorkerRecords) -> None:
    time.sleep(start_delay(records))


def shared_folder() -> Path | None:
    """The folder that the workers of this server share; None outside of workers."""
    folder = os.environ.get(SHARED_FOLDER_VARIABLE)
    return Path(folder) if folder and in_worker() else None


def http_host() -> str:
    """The address on which this worker listens for HTTP; loopback outside of workers."""
    if not in_worker():
        return "127.0.0.1"
    with socket.socket(fileno=os.dup(int(sys.argv[sys.argv.index("--fd") + 1]))) as listener:
        return str(listener.getsockname()[0])


def uvicorn_server() -> uvicorn.Server | None:
    """The uvicorn server of this process; None if something else runs the service.

    Raises LibraryHookMissing in a worker that has no such server.
    """
    handler = signal.getsignal(signal.SIGTERM)
    server = getattr(handler, "__self__", None)
    if isinstance(server, uvicorn.Server):
        return server
    if in_worker():
        raise LibraryHookMissing(uvicorn_hooks.SIGNAL_HANDLER, f"SIGTERM is handled by {handler!r}")
    return None
