"""The `serving.json` in an object store. An object store has neither renames nor locks: the file is replaced on the
condition that it has not changed since it was read, so the second of two simultaneous changes is refused.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models import audit
from models.object_store import (
    AccessDenied,
    ConditionFailed,
    ObjectStore,
    StoredObject,
    StoreUnreachable,
    open_object_store,
)
from models.remote_audit import FOLDER, RemoteAudit
from models.serving_file import SERVING_FILE, GenerationMismatch, ReadOnlyStore, ServingChange, ServingFile, audit_entry
from models.serving_state import ServingState, ServingStateError
from models.text import counted

DELETE = "delete"
"""This action always changes the generation, so that a simultaneous promotion of the deleted version is refused."""


@dataclass(frozen=True)
class RemoteServingFile(ServingFile):
    """The `serving.json` at a URL. folder: the folder of the local mirror. Methods also raise ObjectStoreError."""

    url: str

    @property
    def place(self) -> str:
        return f"{self.url}/{SERVING_FILE}"

    @property
    def audit_place(self) -> str:
        return f"{self.url}/{FOLDER}"

    @property
    def _objects(self) -> ObjectStore:
        return open_object_store(self.url)

    def read_bytes(self) -> bytes | None:
        found = self._objects.get(SERVING_FILE)
        return None if found is None else found.content

    def apply(self, change: ServingChange, expected: int | None = None) -> tuple[ServingState, ServingState]:
        found = self._objects.get(SERVING_FILE)
        before = self.parse(None if found is None else found.content)
        if expected is not None and expected != before.generation:
            raise GenerationMismatch(expected, before.generation)
        old = before.model(change.model)
        new = change.apply(old)
        if new == old and change.action != DELETE:
            return before, before
        after = before.with_model(change.model, new, before.generation + 1)
        content = after.to_json().encode()
        try:
            self._objects.check_conditions()
            last = RemoteAudit(self._objects).last_applied(before.generation, state_hash(found))
            entry = audit_entry(change, old, new, after.generation, content)
            name = RemoteAudit(self._objects).append(entry, last)
        except AccessDenied as error:
            raise ReadOnlyStore(str(error)) from error
        self._commit(found, content, before.generation, name)
        return before, after

    def _commit(self, found: StoredObject | None, content: bytes, generation: int, entry: str) -> None:
        """Replace the file. If the change is refused, its audit entry is withdrawn."""
        try:
            if found is None:
                self._objects.create(SERVING_FILE, content)
            else:
                self._objects.replace(SERVING_FILE, content, found.revision)
        except ConditionFailed as error:
            RemoteAudit(self._objects).withdraw(entry)
            raise GenerationMismatch(generation, self.read().generation) from error
        except AccessDenied as error:
            RemoteAudit(self._objects).withdraw(entry)
            raise ReadOnlyStore(str(error)) from error
        except StoreUnreachable as error:  # either the request or the response was lost
            if self.read_bytes() != content:
                raise ServingStateError(f"{self.place} was not changed: {error}") from error

    def entries(self, newest: int | None = None) -> Iterator[dict[str, Any]]:
        content = self.read_bytes()
        generation = self.parse(content).generation
        lines, _ = RemoteAudit(self._objects).chain(generation, hash_of(content), newest)
        return map(json.loads, lines)

    def verify(self) -> audit.AuditReport:
        content = self.read_bytes()
        generation = self.parse(content).generation
        lines, others = RemoteAudit(self._objects).chain(generation, hash_of(content))
        report = audit.verify_content(b"".join(line + b"\n" for line in lines), generation, hash_of(content))
        if others:
            entries = counted(others, "entry belongs", "entries belong")
            report.notes.append(f"{entries} to refused or interrupted changes")
        return report


def state_hash(found: StoredObject | None) -> str | None:
    return hash_of(None if found is None else found.content)


def hash_of(content: bytes | None) -> str | None:
    return None if content is None else audit.sha256(content)
