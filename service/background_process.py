"""The process that explains predictions, or predicts as a shadow, for one worker:
`python -m service.background_process SOCKET`.

In the worker itself, this work would delay requests: both would need Python's lock, and the system may suspend the
thread that holds it. This process loads the versions that the worker names from their files, has the lowest priority,
and ends with its worker.
"""

import contextlib
import os
import signal
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models import store
from models.differences import differences
from models.frame import Frame
from models.freed_memory import keep_freed_memory
from models.output_options import Explain, ExtendedModel, OptionError, OutputOptions, with_options
from models.outputs import Array
from models.tabular_model import TabularModel
from models.version_files import StoredVersion, StoreError
from service import array_messages
from service.short_turns import PROCESS_PAUSE_S, PROCESS_TURN_S, short_turns
from service.thread_priority import set_idle_priority

MAX_VERSIONS = 8  # limit of loaded versions
OUT_OF_MEMORY_SCORE = "1000"  # if memory is short, the system ends this process before its worker
Fields = dict[str, Any]
Reply = tuple[Fields, Sequence[Array]]


class LoadedVersion:
    """A version with its explainers: one for each value of `explain`."""

    def __init__(self, model: TabularModel) -> None:
        self.model = model
        self._extended: dict[Explain, ExtendedModel] = {}

    def extended(self, explain: Explain) -> ExtendedModel:
        """Raises OptionError."""
        if explain not in self._extended:
            self._extended[explain] = with_options(self.model, OutputOptions(explain=explain))
        return self._extended[explain]


class LoadedVersions:
    """The most recently used versions."""

    def __init__(self) -> None:
        self._versions: OrderedDict[tuple[Any, ...], LoadedVersion] = OrderedDict()

    def get(self, fields: dict[str, Any]) -> LoadedVersion:
        """Raises StoreError."""
        folder = Path(fields["folder"])
        stored = StoredVersion(fields["name"], fields["version"], folder)
        key = (stored, fields["engine"], modification_time(folder))
        if key not in self._versions:
            loaded = store.load(stored, fields["engine"], [Path(path) for path in fields["trusted_keys"]])
            self._versions[key] = LoadedVersion(loaded)
            if len(self._versions) > MAX_VERSIONS:
                self._versions.popitem(last=False)
        self._versions.move_to_end(key)
        return self._versions[key]


def modification_time(folder: Path) -> int:
    """The folder's modification time. It changes if a new version reuses the number of a deleted one."""
    with contextlib.suppress(OSError):
        return os.stat(folder).st_mtime_ns
    return 0


def load(version: LoadedVersion, fields: Fields, arrays: Sequence[Array]) -> Reply:
    if "explain" in fields:
        _ = version.extended(fields["explain"]).explainer  # imported before the priority is lowered
    return {}, ()


def count(version: LoadedVersion, fields: Fields, arrays: Sequence[Array]) -> Reply:
    """The number of evaluations of the model that an explanation of these rows needs."""
    return {"evaluations": version.extended(fields["explain"]).count_evaluations(Frame(*arrays))}, ()


def explain(version: LoadedVersion, fields: Fields, arrays: Sequence[Array]) -> Reply:
    return {}, version.extended(fields["explain"]).explain(Frame(*arrays))


def compare(version: LoadedVersion, fields: Fields, arrays: Sequence[Array]) -> Reply:
    """The differences of this version's predictions to those of another version, which are the last array."""
    *frame, other = arrays
    return {}, [differences(version.model, Frame(*frame), other)]


Work = Callable[[LoadedVersion, Fields, Sequence[Array]], Reply]
WORK: dict[str, Work] = {"load": load, "count": count, "explain": explain, "compare": compare}


def reply_to(message: array_messages.ArrayMessage, versions: LoadedVersions) -> Reply:
    """The fields and arrays of a reply. `unavailable`: the version cannot be loaded here. `failed`: any other error."""
    fields = message.fields
    try:
        version = versions.get(fields)
        return WORK[fields["work"]](version, fields, message.arrays)
    except (StoreError, OptionError) as error:
        return {"unavailable": str(error)}, ()
    except Exception as error:  # the worker logs it
        return {"failed": f"{type(error).__name__}: {error}"}, ()


def serve(connection: socket.socket) -> None:
    """Answer messages until the worker ends."""
    versions = LoadedVersions()
    idle = False
    while True:
        try:
            message = array_messages.receive(connection)
            if not idle and message.fields["work"] != "load":
                set_idle_priority()
                idle = True
            with short_turns(PROCESS_TURN_S, PROCESS_PAUSE_S) if idle else contextlib.nullcontext():
                reply = reply_to(message, versions)
            array_messages.send(connection, *reply)
        except ConnectionError:
            return


def main(words: Sequence[str]) -> int:
    # all processes of a server receive these; the worker ends this process
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)
    keep_freed_memory()
    with socket.socket(fileno=int(words[0])) as connection:
        connection.setblocking(True)  # a default timeout in the worker makes the socket non-blocking
        serve(connection)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
