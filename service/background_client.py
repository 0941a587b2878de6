"""The worker's side of `service.background_process`: starts, uses and replaces the process."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from models.outputs import Array
from models.tabular_model import TabularModel
from service import array_messages
from service.array_messages import ArrayMessage
from service.thread_priority import lower_priority

ROOT = Path(__file__).resolve().parents[1]
MAX_WAIT_S = 120.0  # after this time without a reply, the process is considered hung
TRIES = 2
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
log = logging.getLogger("tabserve.background")
Fields = dict[str, Any]


class ProcessUnavailable(Exception):  # noqa: N818 - the name describes the error
    """The process cannot be started, or cannot load this version. The message is the reason."""


class ProcessNotStarted(ProcessUnavailable):
    """The process ended, or did not answer, while it started or loaded the version."""


class ProcessEnded(Exception):  # noqa: N818 - the name describes the error
    """The process ended during the work, and again at the second attempt."""


class RunningProcess(NamedTuple):
    process: "subprocess.Popen[bytes]"
    connection: socket.socket
    loaded: set[str]  # the folders of the versions that it has loaded


class BackgroundClient:
    """The client of a background process. One thread calls all methods except `close`."""

    def __init__(self, purpose: str, trusted_keys: Sequence[Path] = (), *, urgent: bool = True) -> None:
        """purpose: the purpose of the process, for the log. trusted_keys: public keys; one must have signed a version.

        urgent: whether a request waits for the first result. If not, the process also starts in short turns.
        """
        self._purpose, self._urgent = purpose, urgent
        self._trusted_keys = [str(path.resolve()) for path in trusted_keys]  # the process has another working directory
        self._running: RunningProcess | None = None
        self._closed = False

    def request(self, work: str, version: Fields, arrays: Sequence[Array]) -> ArrayMessage:
        """Send work with a version to the process, and return its reply. A process that has ended is replaced once.

        version: the result of `describe`, with additional fields for this work. Raises ProcessUnavailable, ProcessEnded
        or RuntimeError.
        """
        version = version | {"trusted_keys": self._trusted_keys}
        for _ in range(TRIES):
            loaded = False
            try:
                self._load(version)
                loaded = True
                return self._exchange({"work": work, **version}, arrays)
            except OSError as error:
                self._handle_end(error)
                reason = str(error)
        if not loaded and not self._closed:
            raise ProcessNotStarted(f"it ended while it started or loaded the version: {reason}")
        raise ProcessEnded

    def _load(self, version: Fields) -> None:
        """Let the process load a version. Raises ProcessUnavailable or OSError."""
        if version["folder"] not in self._start().loaded:
            self._exchange({"work": "load", **version})
            self._start().loaded.add(version["folder"])

    def _exchange(self, fields: Fields, arrays: Sequence[Array] = ()) -> ArrayMessage:
        """Send a message and receive the reply. Raises ProcessUnavailable, OSError or RuntimeError."""
        connection = self._start().connection
        array_messages.send(connection, fields, arrays)
        reply = array_messages.receive(connection)
        if (reason := reply.fields.get("unavailable")) is not None:
            raise ProcessUnavailable(reason)
        if (reason := reply.fields.get("failed")) is not None:
            raise RuntimeError(f"the {self._purpose} failed: {reason}")
        return reply

    def _start(self) -> RunningProcess:
        """The running process. Starts one if there is none. Raises OSError."""
        if self._closed:
            raise ConnectionError("the server is shutting down")
        if self._running is None:
            own, other = socket.socketpair()
            own.settimeout(MAX_WAIT_S)
            with other:
                program = ["service.background_process", str(other.fileno())]
                process = subprocess.Popen(
                    [sys.executable, "-m", *([] if self._urgent else ["service.short_turns"]), *program],
                    cwd=ROOT,
                    env={**os.environ, **ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[other.fileno()],
                )
            lower_priority(process.pid)  # before it imports its modules, which takes half a second
            self._running = RunningProcess(process, own, set())
            log.info("background process started", extra={"purpose": self._purpose, "pid": process.pid})
        return self._running

    def _handle_end(self, error: OSError) -> None:
        if not self._closed:
            log.warning("background process ended", extra={"purpose": self._purpose, "reason": str(error)})
        self.stop()

    def stop(self) -> None:
        """End the process. The next request starts a new process."""
        if self._running is not None:
            process, connection, _ = self._running
            self._running = None
            connection.close()
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the process permanently. Any thread may call this; the thread of the other methods calls `stop`
        afterwards."""
        self._closed = True
        if (running := self._running) is not None:
            running.process.kill()


def describe(model: TabularModel) -> Fields:
    """The fields with which the process loads this version. Raises ProcessUnavailable for a version without files."""
    if model.folder is None:
        raise ProcessUnavailable(f"{model.tag} has no files")
    return {
        "name": model.name,
        "version": int(model.version),
        "folder": str(model.folder.resolve()),  # the process has another working directory
        "engine": model.engine.name,
    }
