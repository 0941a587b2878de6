"""The output folder of a job: its identity, its lock, and the list of finished units.

`_job.json` identifies the job, and `_manifest.jsonl` lists the finished units. `_errors/` contains the invalid rows,
and `_temporary/` the files that are being written. `_SUCCESS` is written last. A restart removes files that are not
listed. Other engines ignore names that begin with `_`.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from models.atomic_file import replace_file, sync_folder, write_durably
from models.file_lock import try_lock
from scoring.errors import OutputFailed, ScoringError, UnusableRequest
from scoring.input_file import reason_of

JOB, MANIFEST, SUCCESS = "_job.json", "_manifest.jsonl", "_SUCCESS"
ERRORS, TEMPORARY = "_errors", "_temporary"
PART = "part-*"
Entry = dict[str, Any]


class JobFolder:
    """The output folder of one job. It is locked while it is open."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.done: dict[str, Entry] = {}

    @property
    def place(self) -> str:
        """The location of the folder, for messages and for the workers."""
        return str(self.path)

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Create and lock the folder. Raises ScoringError if another job uses it."""
        with _file_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with _file_errors(path):
                if not try_lock(descriptor):
                    raise ScoringError(f"another job is writing to {path}")
            yield cls(path, descriptor)
        finally:
            # This releases the lock. The end of the process does so, too.
            os.close(descriptor)

    # Identity

    def identity(self) -> dict[str, Any] | None:
        """The identity of the job for which the folder was created; None if the folder is new. Raises
        UnusableRequest."""
        path = self.path / JOB
        if not path.is_file():
            others = [entry.name for entry in self.path.iterdir() if entry.name != f".{JOB}.tmp"]
            if others:
                raise UnusableRequest(f"{self.path} is not empty and belongs to no job: choose another --out")
            return None
        try:
            document: dict[str, Any] = json.loads(path.read_bytes())
            return document
        except (OSError, ValueError) as error:
            raise UnusableRequest(f"{path} cannot be read: {reason_of(error)}") from None

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Start or continue the job with this identity. Raises UnusableRequest if the folder belongs to another job."""
        known = self.identity()
        if known is None:
            with _file_errors(self.path):
                temporary = self.path / f".{JOB}.tmp"
                write_durably(temporary, json.dumps(identity, indent=1).encode() + b"\n")
                temporary.rename(self.path / JOB)
                sync_folder(self.path)
        elif known != identity:
            raise UnusableRequest(
                f"{self.path} belongs to another job ({difference(known, identity)}): choose another --out"
            )

    # What is done

    def recover(self) -> None:
        """Read the list of finished units, and remove the files of all other units."""
        with _file_errors(self.path):
            entries = [entry for entry in self._entries() if self._is_complete(entry)]
            self.done = {entry["unit"]: entry for entry in entries}
            self._write_manifest()
            listed = {entry["output"] for entry in self.done.values()} | {
                entry["errors"] for entry in self.done.values()
            }
            for path in (*self.path.glob(PART), *(self.path / ERRORS).glob(PART)):
                if path.relative_to(self.path).as_posix() not in listed:
                    path.unlink()
            shutil.rmtree(self.path / TEMPORARY, ignore_errors=True)

    def _entries(self) -> Iterator[Entry]:
        """The entries of the manifest, whose last line may be incomplete."""
        path = self.path / MANIFEST
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            try:
                yield json.loads(line)
            except ValueError:
                return

    def _is_complete(self, entry: Entry) -> bool:
        """Whether the files of an entry exist with the listed sizes, since a file may have been removed."""
        files = [(entry["output"], entry["bytes"])]
        files += [(entry["errors"], entry["error_bytes"])] if entry["errors"] else []
        with contextlib.suppress(OSError):
            return all((self.path / name).stat().st_size == size for name, size in files)
        return False

    def add(self, entry: Entry) -> None:
        """Add a finished unit to the manifest."""
        with _file_errors(self.path), (self.path / MANIFEST).open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.done[entry["unit"]] = entry

    def _write_manifest(self) -> None:
        lines = [json.dumps(self.done[name]).encode() + b"\n" for name in sorted(self.done)]
        replace_file(self.path / MANIFEST, b"".join(lines))
        sync_folder(self.path)

    # The end

    def reopen(self) -> None:
        """Remove `_SUCCESS`, because the job is not complete."""
        with _file_errors(self.path):
            (self.path / SUCCESS).unlink(missing_ok=True)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Sort the manifest, and write `_SUCCESS`."""
        with _file_errors(self.path):
            shutil.rmtree(self.path / TEMPORARY, ignore_errors=True)
            self._write_manifest()
            temporary = self.path / f"{TEMPORARY}{SUCCESS}"
            write_durably(temporary, json.dumps(summary).encode() + b"\n")
            temporary.rename(self.path / SUCCESS)
            sync_folder(self.path)


def difference(known: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """A short description of the difference between two identities."""
    for key in ("model", "manifest", "options", "format"):
        if known.get(key) != identity[key]:
            return f"its {key} is {json.dumps(known.get(key))}, not {json.dumps(identity[key])}"
    before = {found["url"]: found for found in known.get("inputs", [])}
    after = {found["url"]: found for found in identity["inputs"]}
    for url in sorted({*before, *after}):
        if url not in after:
            return f"it has the input {url}"
        if url not in before:
            return f"it does not have the input {url}"
        if before[url] != after[url]:
            return f"the input {url} has changed since"
    return "its inputs are in another order"


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """Convert errors of the file system to OutputFailed."""
    try:
        yield
    except OSError as error:
        raise OutputFailed(f"{path} cannot be written: {reason_of(error)}") from error
