"""The audit of an object store: an object for each change, named by generation and hash, below `_audit/`.

Objects cannot be extended. Each change writes its entry first and then replaces `serving.json` on the condition that
nobody else has; an entry whose change was refused or interrupted is not in the chain, which begins at the entry that
has the hash of `serving.json` and follows `prev`.
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
    """All methods raise ObjectStoreError."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def append(self, entry: dict[str, Any], previous: bytes | None) -> str:
        """Write an entry that follows the line `previous`. Returns the name of its object."""
        line = audit.encode({**entry, "prev": audit.FIRST_PREVIOUS if previous is None else audit.sha256(previous)})
        name = f"{FOLDER}/{entry['generation']:010d}-{audit.sha256(line[:-1])[:16]}.json"
        self._objects.put(name, line)
        return name

    def withdraw(self, name: str) -> None:
        """Delete the entry of a change that was refused, if that is possible: it is in no chain anyway."""
        with contextlib.suppress(ObjectStoreError):
            self._objects.delete([name])

    def last_applied(self, generation: int, state_hash: str | None) -> bytes | None:
        """The line of the change that led to this `serving.json`; None if there is none."""
        names = [each for each in self._listed() if generation_of(each) == generation]
        return next((line for line in self._read(names) if is_of_state(line, state_hash)), None)

    def chain(self, generation: int, state_hash: str | None, newest: int | None = None) -> tuple[list[bytes], int]:
        """The lines that led to this `serving.json`, oldest first, and the number of others. newest: their limit."""
        listed = [each for each in self._listed() if newest is None or generation_of(each) > generation - newest]
        lines = {audit.sha256(line): line for line in self._read(listed)}
        line = next((line for line in lines.values() if is_of_state(line, state_hash)), None)
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


def is_of_state(line: bytes, state_hash: str | None) -> bool:
    return state_hash is not None and (audit.parse(line) or {}).get("state") == state_hash
