"""The file `serving.json` and its audit in the folder of a store. All servers read it; commands change it under a lock.

A change writes a temporary file, then the audit line, then renames the file. Even if the disk is full or the process is
stopped, the file contains either the complete old state or the complete new state, and there is never a change without
an audit line.
"""

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models import audit
from models.atomic_file import sync_folder, write_durably
from models.file_lock import lock_within
from models.serving_state import InvalidServingState, ModelState, ServingState, ServingStateError

SERVING_FILE = "serving.json"
TEMPORARY_FILE = "serving.json.tmp"
LOCK_FILE = "serving.lock"
LOCK_SECONDS = 10.0
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class GenerationMismatch(ServingStateError):  # noqa: N818 - the name describes the error
    """The state has changed since the caller read it. Nothing was changed."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"the generation is {found}, not {expected}: the served versions were changed meanwhile")
        self.expected = expected
        self.found = found


class ReadOnlyStore(ServingStateError):  # noqa: N818 - the name describes the error
    """The store is read-only."""


@dataclass(frozen=True)
class ServingChange:
    """A change of one model's state, with the data of its audit entry."""

    model: str
    action: str
    apply: Callable[[ModelState], ModelState]
    actor: str
    reason: str = ""
    manifest: str | None = None
    """The manifest hash of the version that the change concerns."""


@dataclass(frozen=True)
class ServingFile:
    """The serving state of a store. `folder` is the store's root: the folder of TABSERVE_STORE, or BENTOML_HOME."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / SERVING_FILE

    @property
    def place(self) -> str:
        """The location of the file, for messages."""
        return str(self.path)

    @property
    def audit_place(self) -> str:
        """The location of the audit, for messages."""
        return str(self.folder / audit.AUDIT_FILE)

    def read(self) -> ServingState:
        """The state; the default state if there is no file. Raises InvalidServingState."""
        return self.parse(self.read_bytes())

    def parse(self, content: bytes | None) -> ServingState:
        """The state in this content; the default state for None. Raises InvalidServingState."""
        if content is None:
            return ServingState()
        try:
            return ServingState.from_json(content)
        except InvalidServingState as error:
            raise InvalidServingState(f"{self.place} is not valid: {error}") from error

    def read_bytes(self) -> bytes | None:
        """The content of the file; None if it does not exist."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InvalidServingState(f"{self.path} cannot be read: {error.strerror or error}") from error

    def apply(self, change: ServingChange, expected: int | None = None) -> tuple[ServingState, ServingState]:
        """Change the state of a model. Returns the states before and after, which are equal if nothing changes.

        expected: the generation that the caller has read. Raises GenerationMismatch, ReadOnlyStore, ChangeRefused,
        InvalidServingState, or ServingStateError if the file cannot be written. Nothing is changed if an error is
        raised.
        """
        with self.locked():
            before = self.read()
            if expected is not None and expected != before.generation:
                raise GenerationMismatch(expected, before.generation)
            old = before.model(change.model)
            new = change.apply(old)
            if new == old:
                return before, before
            with self.converted_errors():
                return before, self.write(before, change, old, new)

    def write(self, before: ServingState, change: ServingChange, old: ModelState, new: ModelState) -> ServingState:
        last = audit.parse(audit.last_line(self.folder) or b"")
        if interrupted := audit.interrupted_change(last, before.generation):
            self.record_interrupted(last or {}, interrupted)
        after = before.with_model(change.model, new, max(before.generation, audit.generation_of(last)) + 1)
        content = after.to_json().encode()
        temporary = self.folder / TEMPORARY_FILE
        write_durably(temporary, content)
        audit.append(self.folder, audit_entry(change, old, new, after.generation, content))
        temporary.rename(self.path)
        sync_folder(self.folder)
        return after

    def record_interrupted(self, last: dict[str, Any], interrupted: str) -> None:
        reason = f"{interrupted} was not applied: its process was stopped"
        model = {"model": last["model"], "from": last["to"], "to": last["from"], "generation": last["generation"]}
        entry = {"time": now(), "actor": "", "action": audit.NOT_APPLIED, **model, "reason": reason, "manifest": None}
        audit.append(self.folder, entry)

    def entries(self, newest: int | None = None) -> Iterator[dict[str, Any]]:
        """The entries of the audit, oldest first. newest: the maximum number of entries, from the end."""
        return iter(audit.read(self.folder) if newest is None else deque(audit.read(self.folder), newest))

    def verify(self) -> audit.AuditReport:
        """Check the chain of the audit, and that it matches the file."""
        content = self.read_bytes()  # read once, because another process may change the file
        state_hash = None if content is None else audit.sha256(content)
        return audit.verify(self.folder, self.parse(content).generation, state_hash)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, so that changes do not overlap. Raises ReadOnlyStore, or ServingStateError if another process
        holds it."""
        with self.converted_errors():
            descriptor = os.open(self.folder / LOCK_FILE, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            wait_for_lock(descriptor, self.folder / LOCK_FILE)
            yield
        finally:
            os.close(descriptor)  # releases the lock; the end of the process does so, too

    @contextlib.contextmanager
    def converted_errors(self) -> Iterator[None]:
        """Convert errors of the file system to errors of the state."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in READ_ONLY:
                raise ReadOnlyStore(f"{self.folder} cannot be written: {reason}") from error
            raise ServingStateError(f"{self.path} was not changed: {reason}") from error


def wait_for_lock(descriptor: int, path: Path) -> None:
    """Wait for the lock of a file. Raises ServingStateError."""
    try:
        if not lock_within(descriptor, LOCK_SECONDS):
            raise ServingStateError(f"another process has held {path} for {LOCK_SECONDS:g} s")
    except OSError as error:
        raise ServingStateError(f"{path} cannot be locked: {error.strerror or error}") from error


def audit_entry(
    change: ServingChange, old: ModelState, new: ModelState, generation: int, content: bytes
) -> dict[str, Any]:
    """The audit entry of a change, with the fields of the model's state that differ, before and after."""
    values = [model.model_dump(mode="json") for model in (old, new)]
    differing = [name for name in values[0] if values[0][name] != values[1][name]]
    return {
        "time": now(),
        "actor": change.actor,
        "action": change.action,
        "model": change.model,
        "from": {name: values[0][name] for name in differing},
        "to": {name: values[1][name] for name in differing},
        "generation": generation,
        "reason": change.reason,
        "manifest": change.manifest,
        "state": audit.sha256(content),
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
