"""The worker's side of `service.explanation_process`: starts it when it is needed, sends it work, and replaces it."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from models.frame import Frame
from models.output_options import ExplanationArrays, ExtendedModel
from models.outputs import Array
from service import array_messages
from service.array_messages import ArrayMessage

ROOT = Path(__file__).resolve().parents[1]
MAX_WAIT_S = 120.0  # without a reply for this time the process counts as hung
TRIES = 2
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
log = logging.getLogger("tabserve.explanations")


class NoExplanationProcess(Exception):  # noqa: N818 - the name describes the error
    """The process cannot be started, or cannot load this version. The message is the reason."""


class ExplanationProcessEnded(Exception):  # noqa: N818 - the name describes the error
    """The process ended during an explanation, also at the second attempt."""


class RunningProcess(NamedTuple):
    process: "subprocess.Popen[bytes]"
    connection: socket.socket
    loaded: set[str]  # the versions that it could load


class ExplanationClient:
    """All methods but `close` are called by one thread."""

    def __init__(self, trusted_keys: Sequence[Path] = ()) -> None:
        """trusted_keys: of which one must have signed a version."""
        self._trusted_keys = [str(path.resolve()) for path in trusted_keys]  # the process has another working directory
        self._running: RunningProcess | None = None
        self._closed = False

    def count_evaluations(self, model: ExtendedModel, frame: Frame) -> int:
        """Raises NoExplanationProcess or ExplanationProcessEnded."""
        return int(self._request("count", model, frame).fields["evaluations"])

    def explain(self, model: ExtendedModel, frame: Frame) -> ExplanationArrays:
        """Raises NoExplanationProcess or ExplanationProcessEnded."""
        return ExplanationArrays(*self._request("explain", model, frame).arrays)

    def _request(self, work: str, model: ExtendedModel, frame: Frame) -> ArrayMessage:
        """Let the process explain rows. A process that ended meanwhile is replaced once."""
        version = describe(model) | {"trusted_keys": self._trusted_keys}
        for _ in range(TRIES):
            loaded = False
            try:
                self._load(version)
                loaded = True
                return self._exchange({"work": work, **version}, frame)
            except OSError as error:
                self._ended(error)
                reason = str(error)
        if not loaded:
            raise NoExplanationProcess(f"it ended while it started or loaded the version: {reason}")
        raise ExplanationProcessEnded

    def _load(self, version: dict[str, Any]) -> None:
        """Let the process load a version. Raises NoExplanationProcess or OSError."""
        if version["folder"] not in self._start().loaded:
            self._exchange({"work": "load", **version})
            self._start().loaded.add(version["folder"])

    def _exchange(self, fields: dict[str, Any], arrays: Sequence[Array] = ()) -> ArrayMessage:
        """Send a message and receive the reply. Raises NoExplanationProcess, OSError or RuntimeError."""
        connection = self._start().connection
        array_messages.send(connection, fields, arrays)
        reply = array_messages.receive(connection)
        if (reason := reply.fields.get("unavailable")) is not None:
            raise NoExplanationProcess(reason)
        if (reason := reply.fields.get("failed")) is not None:
            raise RuntimeError(f"the explanation failed: {reason}")
        return reply

    def _start(self) -> RunningProcess:
        """The running process; a new one if there is none. Raises OSError."""
        if self._closed:
            raise ConnectionError("the server is shutting down")
        if self._running is None:
            own, other = socket.socketpair()
            own.settimeout(MAX_WAIT_S)
            with other:
                process = subprocess.Popen(
                    [sys.executable, "-m", "service.explanation_process", str(other.fileno())],
                    cwd=ROOT,
                    env={**os.environ, **ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[other.fileno()],
                )
            self._running = RunningProcess(process, own, set())
            log.info("process of explanations started", extra={"pid": process.pid})
        return self._running

    def _ended(self, error: OSError) -> None:
        if not self._closed:
            log.warning("process of explanations ended", extra={"reason": str(error)})
        self.stop()

    def stop(self) -> None:
        """End the process; the next explanation starts another one."""
        if self._running is not None:
            process, connection, _ = self._running
            self._running = None
            connection.close()
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the process and start no other one. Called by any thread; the thread of explanations calls `stop`
        afterwards."""
        self._closed = True
        if (running := self._running) is not None:
            running.process.kill()


def describe(model: ExtendedModel) -> dict[str, Any]:
    """What the process needs to load this version. Raises NoExplanationProcess for a version without files."""
    plain = model.model
    if plain.folder is None:
        raise NoExplanationProcess(f"{plain.tag} has no files")
    return {
        "name": plain.name,
        "version": int(plain.version),
        "folder": str(plain.folder.resolve()),  # the process has another working directory
        "engine": plain.engine.name,
        "explain": model.options.explain,
    }
