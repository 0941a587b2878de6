"""The keys of a running worker: follows the file, and keeps the last valid content if it becomes invalid."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.atomic_file import replace_file
from service.access.caller import Caller
from service.access.key_rates import KeyRate, SharedRates
from service.access.keys_file import Keys, KeysFileError, StoredKey, parse_keys, read_keys
from service.periodic_work import repeat

COPY = "keys.json"
"""A copy of the last valid content in the folder of the workers: a replaced worker can start with it."""
LOOK_S = 0.5
log = logging.getLogger("tabserve.keys")


@dataclass(frozen=True, slots=True)
class ActiveKey:
    """A key as requests use it. digest: its SHA-256. expires: on the clock of time.time."""

    digest: bytes
    caller: Caller
    rate: KeyRate | None
    expires: float | None

    @property
    def is_expired(self) -> bool:
        return self.expires is not None and time.time() >= self.expires


class KeyRing:
    """All keys by their hashes. `keys` is replaced by one assignment.

    If keys were found by their ids, one with an unknown id would be refused faster than one with a known id.
    """

    def __init__(self, path: Path, folder: Path | None) -> None:
        """folder: shared by the workers. Raises KeysFileError if there is no valid content."""
        self.path = path
        self.keys: Mapping[bytes, ActiveKey] = {}
        self._rates = SharedRates(folder)
        self._copy = folder and folder / COPY
        self._problem = ""
        self._seen = signature_of(path)
        try:
            self._adopt(read_keys(path))
        except KeysFileError as error:
            self._adopt(self._copied(error))

    def _copied(self, error: KeysFileError) -> Keys:
        """The last valid content of this server. Raises the error if there is none."""
        with contextlib.suppress(OSError, KeysFileError):
            if self._copy:
                keys = parse_keys(self._copy.read_bytes())
                self._report(str(error))
                return keys
        raise error

    async def run(self) -> None:
        """Follow the file until cancelled."""
        await repeat(lambda: asyncio.to_thread(self.look), LOOK_S, "the keys cannot be read")

    def look(self) -> None:
        """Read the file if it has changed."""
        seen = signature_of(self.path)
        if seen == self._seen and not self._problem:
            return
        try:
            self._adopt(read_keys(self.path))
        except KeysFileError as error:
            self._report(str(error))
            return
        self._seen = seen  # the state before reading: a change during it is read at the next look
        self._report("")

    def _adopt(self, keys: Keys) -> None:
        places = self._rates.places([key.name for key in keys.keys if key.rate is not None])
        active = [self._active(key, places.get(key.name, 0)) for key in keys.keys]
        self.keys = {key.digest: key for key in active}
        log.info("keys read", extra={"keys": len(keys.keys)})
        if self._copy:
            with contextlib.suppress(OSError):  # without space a replaced worker needs the file itself
                replace_file(self._copy, keys.model_dump_json().encode())
                self._copy.chmod(0o600)

    def _active(self, key: StoredKey, place: int) -> ActiveKey:
        models = None if key.models is None else frozenset(key.models)
        caller = Caller(key.name, frozenset(key.scopes), models)
        rate = None if key.rate is None else self._rates.rate(place, key.rate, key.burst)
        expires = None if key.expires is None else key.expires.timestamp()
        return ActiveKey(bytes.fromhex(key.sha256), caller, rate, expires)

    def _report(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.error("the keys are not valid, the previous ones stay", extra={"reason": problem})
        elif self._problem and not problem:
            log.info("the keys are valid again")
        self._problem = problem


def signature_of(path: Path) -> tuple[int, ...] | None:
    """A value that changes with the content of a file; None if there is none."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return None
