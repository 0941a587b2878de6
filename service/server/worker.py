"""What a worker process knows of the server it belongs to: its supervisor, its shared folder, its address."""

import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from service.server.draining import log

MOST_FAILED_STARTS = 3


def in_worker() -> bool:
    """Whether this is a worker of `bentoml serve`, and not its supervisor, a build or a test."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "_bentoml_impl.worker.service"


def failed_to_start(reason: str) -> None:
    """A worker that cannot start is replaced for ever, so the last of a few ends the server with one clear line."""
    count = failed_starts()
    if count is None:
        return
    with count.open("a") as file:
        file.write(".")
    times = count.stat().st_size
    log.error("worker cannot start", extra={"reason": reason, "times": times})
    if times >= MOST_FAILED_STARTS:
        log.error("no worker can start: the server stops", extra={"reason": reason})
        os.kill(os.getppid(), signal.SIGTERM)


def started() -> None:
    """A worker is up: what failed before counts no more."""
    if count := failed_starts():
        count.unlink(missing_ok=True)


def failed_starts() -> Path | None:
    """A file of one byte for each failed start; None outside of workers."""
    folder = shared_folder()
    return folder and folder / "failed_starts"


def shared_folder() -> Path | None:
    """The folder that the workers of this server share; None outside of workers."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder and in_worker() else None


def taken(port: int) -> bool:
    """Whether another server listens on a port. To be asked before the first worker does: they share it by a means
    that would let any other program in, too, and the kernel spread the connections over both."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def http_host() -> str:
    """The address on which this worker answers HTTP; loopback outside of workers."""
    if not in_worker():
        return "127.0.0.1"
    with socket.socket(fileno=os.dup(int(sys.argv[sys.argv.index("--fd") + 1]))) as listener:
        return str(listener.getsockname()[0])


def uvicorn_server() -> uvicorn.Server | None:
    """The server that runs this worker; None under another runner, as in tests."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None
