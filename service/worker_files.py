"""The files in the shared folder with which the workers of a server report the versions that they serve."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from models.atomic_file import replace_file
from service.following_status import FollowingStatus
from service.worker_records import is_alive

ENDED_FILE = "ended-canaries.json"


@dataclass(frozen=True)
class PrepareRequest:
    """A request to a worker to load versions of a model before they are served. versions: their numbers."""

    id: str
    model: str
    versions: list[int]


@dataclass(frozen=True)
class PrepareResult:
    """The reply to a PrepareRequest. error: why a version cannot be loaded; None if all are loaded."""

    id: str
    error: str | None


@dataclass
class WorkerFiles:
    """The files of the workers. folder: None for a single process, which has no files."""

    folder: Path | None
    pid: int = field(default_factory=os.getpid)

    def publish(self, status: FollowingStatus) -> None:
        """Publish the status of this worker. Without disk space, other workers do not wait for it."""
        with contextlib.suppress(OSError):
            self._write("serving", self.pid, asdict(status))

    def statuses(self) -> Mapping[int, FollowingStatus]:
        """The status of each live worker, including this one."""
        found = {}
        for file in self.folder.glob("serving-*.json") if self.folder else ():
            pid = int(file.stem.rpartition("-")[2])
            if not is_alive(pid):
                file.unlink(missing_ok=True)
            elif (content := read(file)) is not None:
                found[pid] = FollowingStatus(**content)
        return found

    def request(self, pid: int, request: PrepareRequest) -> None:
        """Request that a worker prepares versions."""
        self._write("prepare", pid, asdict(request))

    def requested(self) -> PrepareRequest | None:
        """The last request of another worker to this worker."""
        content = self._read("prepare", self.pid)
        return None if content is None else PrepareRequest(**content)

    def request_files(self) -> list[Path]:
        """The file that changes with each request to this worker."""
        return [self._path("prepare", self.pid)] if self.folder else []

    def answer(self, result: PrepareResult) -> None:
        """Publish the reply to the last request."""
        self._write("prepared", self.pid, asdict(result))

    def result(self, pid: int) -> PrepareResult | None:
        """The last reply of a worker."""
        content = self._read("prepared", pid)
        return None if content is None else PrepareResult(**content)

    @property
    def is_leader(self) -> bool:
        """Whether this worker does the work that only one worker does."""
        return self.folder is None or min(self.statuses(), default=self.pid) == self.pid

    def publish_counts(self, counts: Mapping[str, Any]) -> None:
        """Publish this worker's counts of responses by canary and version. Without disk space, other workers do not
        count them."""
        with contextlib.suppress(OSError):
            self._write("canary", self.pid, counts)

    def counts(self, canary: str, own: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Version and counts of a canary in each worker, including ended workers. own: the counts of this worker."""
        files = self.folder.glob("canary-*.json") if self.folder else ()
        others = [read(file) for file in files if file.name != f"canary-{self.pid}.json"]
        for content in (orjson.loads(orjson.dumps(own)), *others):
            yield from ((content or {}).get(canary) or {}).items()

    def forget_counts(self, canary: str) -> None:
        """Delete the counts of a canary in workers that have ended."""
        for file in self.folder.glob("canary-*.json") if self.folder else ():
            if not is_alive(int(file.stem.rpartition("-")[2])) and canary in (content := read(file) or {}):
                del content[canary]
                with contextlib.suppress(OSError):
                    replace_file(file, orjson.dumps(content))

    def end_canary(self, model: str, canary: str) -> None:
        """Let all workers return the traffic of a model to its champion. Without disk space, only `serving.json` can do
        so."""
        self.set_ended_canaries({**self.ended_canaries(), model: canary})

    def set_ended_canaries(self, canaries: Mapping[str, str]) -> None:
        """Delete other canaries from the list of rolled back canaries, and the counts of workers that have ended."""
        if self.folder and canaries != self.ended_canaries():
            with contextlib.suppress(OSError):
                replace_file(self.folder / ENDED_FILE, orjson.dumps(canaries))
            for file in self.folder.glob("canary-*.json"):
                if not is_alive(int(file.stem.rpartition("-")[2])):
                    file.unlink(missing_ok=True)

    def ended_canaries(self) -> dict[str, str]:
        """The last canary of each model that was rolled back."""
        return (self.folder and read(self.folder / ENDED_FILE)) or {}

    def remove(self) -> None:
        """Remove the files of this worker when it stops."""
        for kind in ("serving", "prepare", "prepared") if self.folder else ():
            self._path(kind, self.pid).unlink(missing_ok=True)

    def _path(self, kind: str, pid: int) -> Path:
        assert self.folder
        return self.folder / f"{kind}-{pid}.json"

    def _read(self, kind: str, pid: int) -> Any:
        return read(self._path(kind, pid)) if self.folder else None

    def _write(self, kind: str, pid: int, content: Mapping[str, Any]) -> None:
        if self.folder:
            replace_file(self._path(kind, pid), orjson.dumps(content))


def read(path: Path) -> Any:
    """The content of a file; None if there is none."""
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
