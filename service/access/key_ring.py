"""The keys of a running worker: reads changes of the file, and keeps the last valid keys if the file becomes
invalid."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.atomic_file import replace_file
from service.access.caller import Caller
from service.access.key_rates import KeyRate, SharedRates
from service.access.keys_file import Keys, KeysFileError, StoredKey, parse_keys, read_keys
from service.file_watch import FileWatch, file_signature
from service.periodic_work import repeat

COPY = "keys.json"
"""The copy of the last valid keys in the workers' folder, with which a replacement worker can start."""
CHECK_INTERVAL_S = 0.5  # interval between two checks of the file for changes
RETRY_S = 5.0  # delay before the next attempt to read an invalid file
log = logging.getLogger("tabserve.keys")


@dataclass(frozen=True, slots=True)
class ActiveKey:
    """A key in the form that checks of requests use. digest: its SHA-256. expires: a time of `time.time`."""

    digest: bytes
    caller: Caller
    rate: KeyRate | None
    expires: float | None

    @property
    def is_expired(self) -> bool:
        return self.expires is not None and time.time() >= self.expires


class KeyRing:
    """All keys by their hashes. `keys` is replaced by one assignment.

    If keys were found by their ids, a key with an unknown id would be refused faster than a key with a known id.
    """

    def __init__(self, path: Path, folder: Path | None) -> None:
        """folder: the folder that the workers share. Raises KeysFileError if there are no valid keys."""
        self.path = path
        self.keys: Mapping[bytes, ActiveKey] = {}
        self._rates = SharedRates(folder)
        self._copy = folder and folder / COPY
        self._problem = ""
        self._seen = file_signature(path)
        try:
            self._adopt(read_keys(path))
        except KeysFileError as error:
            self._adopt(self._read_copy(error))

    def _read_copy(self, error: KeysFileError) -> Keys:
        """The last valid keys of this server. Raises `error` if there is no copy of them."""
        with contextlib.suppress(OSError, KeysFileError):
            if self._copy:
                keys = parse_keys(self._copy.read_bytes())
                self._report(str(error))
                return keys
        raise error

    async def run(self) -> None:
        """Read each change of the file until cancelled."""
        watch = FileWatch([self.path], CHECK_INTERVAL_S, "watch-keys")

        async def poll_after_change() -> None:
            await watch.change(RETRY_S)
            await asyncio.to_thread(self.poll)

        try:
            await repeat(poll_after_change, 0.0, "the keys cannot be read")
        finally:
            watch.stop()

    def poll(self) -> None:
        """Read the file if it has changed."""
        seen = file_signature(self.path)
        if seen == self._seen and not self._problem:
            return
        try:
            self._adopt(read_keys(self.path))
        except KeysFileError as error:
            self._report(str(error))
            return
        self._seen = seen  # taken before reading: a change during the read is noticed next time
        self._report("")

    def _adopt(self, keys: Keys) -> None:
        indices = self._rates.indices([key.name for key in keys.keys if key.rate is not None])
        active = [self._active_key(key, indices.get(key.name, 0)) for key in keys.keys]
        self.keys = {key.digest: key for key in active}
        log.info("keys read", extra={"keys": len(keys.keys)})
        if self._copy:
            with contextlib.suppress(OSError):  # on a full disk, a replacement worker needs the original file
                replace_file(self._copy, keys.model_dump_json().encode())
                self._copy.chmod(0o600)

    def _active_key(self, key: StoredKey, index: int) -> ActiveKey:
        models = None if key.models is None else frozenset(key.models)
        caller = Caller(key.name, frozenset(key.scopes), models)
        rate = None if key.rate is None else self._rates.rate(index, key.rate, key.burst)
        expires = None if key.expires is None else key.expires.timestamp()
        return ActiveKey(bytes.fromhex(key.sha256), caller, rate, expires)

    def _report(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.error("the keys are not valid; the previous keys remain in use", extra={"reason": problem})
        elif self._problem and not problem:
            log.info("the keys are valid again")
        self._problem = problem
