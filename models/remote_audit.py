"""The audit in an object store: one object for each change, named by generation and hash, in the folder `_audit/`.

Nothing can be appended to an object. Each change first writes its entry, and then replaces `serving.json` on the
condition that it has not changed. The chain begins at the entry with the hash of `serving.json` and follows `prev`;
entries of refused or interrupted changes are not in the chain.
"""

import contextlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from models import audit
from models.object_store import ListedObject, ObjectStore, ObjectStoreError

FOLDER = "_audit"
ENTRY = re.compile(rf"{FOLDER}/(?P<generation>\d{{10}})-[0-9a-f]{{16}}\.json")
READERS = 16


class RemoteAudit:
    """Reads and writes the audit in an object store. All methods raise ObjectStoreError."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def append(self, entry: dict[str, Any], previous: bytes | None) -> str:
        """Write an entry after the line `previous`. Returns the name of its object."""
        line = audit.encode({**entry, "prev": audit.FIRST_PREVIOUS if previous is None else audit.sha256(previous)})
        name = f"{FOLDER}/{entry['generation']:010d}-{audit.sha256(line[:-1])[:16]}.json"
        self._objects.put(name, line)
        return name

    def withdraw(self, name: str) -> None:
        """Delete the entry of a refused change if possible. If it remains, it is not in the chain."""
        with contextlib.suppress(ObjectStoreError):
            self._objects.delete([name])

    def last_applied(self, generation: int, state_hash: str | None) -> bytes | None:
        """The line of the change that led to this `serving.json`; None if there is none."""
        names = [each for each in self._listed() if generation_of(each) == generation]
        return next((line for line in self._read(names) if has_state_hash(line, state_hash)), None)

    def chain(self, generation: int, state_hash: str | None, newest: int | None = None) -> tuple[list[bytes], int]:
        """The lines of the changes that led to this `serving.json`, oldest first, and the number of other lines.
        newest: read only this number of generations."""
        listed = [each for each in self._listed() if newest is None or generation_of(each) > generation - newest]
        lines = {audit.sha256(line): line for line in self._read(listed)}
        line = next((line for line in lines.values() if has_state_hash(line, state_hash)), None)
        found: list[bytes] = []
        while line is not None:
            found.append(line)
            line = lines.pop(str((audit.parse(line) or {}).get("prev")), None)
        return found[::-1], len(listed) - len(found)

    def _listed(self) -> list[ListedObject]:
        return [each for each in self._objects.list(FOLDER) if ENTRY.fullmatch(each.name)]

    def _read(self, listed: Iterable[ListedObject]) -> list[bytes]:
        with ThreadPoolExecutor(READERS) as pool:
            found = pool.map(self._objects.get, [each.name for each in listed])
            return [each.content.removesuffix(b"\n") for each in found if each is not None]


def generation_of(listed: ListedObject) -> int:
    found = ENTRY.fullmatch(listed.name)
    return int(found["generation"]) if found else 0


def has_state_hash(line: bytes, state_hash: str | None) -> bool:
    return state_hash is not None and (audit.parse(line) or {}).get("state") == state_hash
