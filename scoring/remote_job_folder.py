"""The output folder of a job in an object store, which has neither renames nor locks.

An object becomes visible only when it is complete. A unit is finished if its entry `_units/NAME.json` exists, which is
written after its files. `_manifest.jsonl` and `_SUCCESS` are written at the end. Two processes of one job write the
same objects, so no lock is needed. Another job is refused because of `_job.json`, which is created once.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from models.file_destination import RemoteFolder, check_destination
from scoring.errors import OutputFailed, UnusableRequest
from scoring.input_file import reason_of
from scoring.job_folder import ERRORS, JOB, MANIFEST, SUCCESS, Entry, JobFolder, difference

UNITS = "_units"
PART_PREFIX = "part-"


class RemoteJobFolder(JobFolder):
    """The output folder of one job at a URL. All methods raise OutputFailed for errors of the store."""

    def __init__(self, url: str) -> None:
        super().__init__(Path(), -1)
        self._url = url.rstrip("/")
        with self._remote_errors():
            self._remote = RemoteFolder(self._url)

    @property
    def place(self) -> str:
        return self._url

    @classmethod
    @contextlib.contextmanager
    def open_url(cls, url: str) -> Iterator[Self]:
        try:
            check_destination(url)
        except ValueError as error:
            raise UnusableRequest(f"--out {url}: {error}") from None
        yield cls(url)

    def identity(self) -> dict[str, Any] | None:
        with self._remote_errors():
            names = self._remote.sizes()
            if JOB not in names and names:
                raise UnusableRequest(f"{self._url} is not empty and belongs to no job: choose another --out")
            if JOB not in names:
                return None
            content = self._remote.read(JOB)
        try:
            document: dict[str, Any] = json.loads(content)
            return document
        except ValueError as error:
            raise UnusableRequest(f"{self._url}/{JOB} cannot be read: {reason_of(error)}") from None

    def claim(self, identity: Mapping[str, Any]) -> None:
        if self.identity() is None:
            with self._remote_errors(), contextlib.suppress(FileExistsError):
                self._remote.create(JOB, json.dumps(identity, indent=1).encode() + b"\n")
        known = self.identity()  # another job may have created it first
        if known != json.loads(json.dumps(identity)):
            raise UnusableRequest(
                f"{self._url} belongs to another job ({difference(known or {}, identity)}): choose another --out"
            )

    def recover(self) -> None:
        """Read the list of finished units. Files of other units remain until the end, because another process of this
        job may write them."""
        with self._remote_errors():
            sizes = self._remote.sizes()
            names = [name for name in sizes if name.startswith(f"{UNITS}/")]
            entries: list[Entry] = [json.loads(self._remote.read(name)) for name in names]
        self.done = {entry["unit"]: entry for entry in entries if is_complete(entry, sizes)}

    def add(self, entry: Entry) -> None:
        with self._remote_errors():
            self._remote.write(f"{UNITS}/{entry['unit']}.json", json.dumps(entry).encode() + b"\n")
        self.done[entry["unit"]] = entry

    def reopen(self) -> None:
        with self._remote_errors():
            self._remote.remove(SUCCESS)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Remove files that are not listed, then write the manifest and `_SUCCESS`."""
        listed = {entry["output"] for entry in self.done.values()} | {entry["errors"] for entry in self.done.values()}
        lines = [json.dumps(self.done[name]).encode() + b"\n" for name in sorted(self.done)]
        with self._remote_errors():
            for name in self._remote.sizes():
                if name.removeprefix(f"{ERRORS}/").startswith(PART_PREFIX) and name not in listed:
                    self._remote.remove(name)
            self._remote.write(MANIFEST, b"".join(lines))
            self._remote.write(SUCCESS, json.dumps(summary).encode() + b"\n")

    @contextlib.contextmanager
    def _remote_errors(self) -> Iterator[None]:
        with remote_errors(self._url):
            yield


@contextlib.contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """Convert errors of the file system of a URL to OutputFailed."""
    try:
        yield
    except (FileExistsError, OutputFailed, UnusableRequest):
        raise
    except Exception as error:  # each file system of fsspec has its own errors
        raise OutputFailed(f"{url} cannot be written: {reason_of(error)}") from error


def is_complete(entry: Entry, sizes: Mapping[str, int]) -> bool:
    """Whether all files of a unit exist with the listed sizes."""
    files = [(entry["output"], entry["bytes"])]
    files += [(entry["errors"], entry["error_bytes"])] if entry["errors"] else []
    return all(sizes.get(name) == size for name, size in files)
