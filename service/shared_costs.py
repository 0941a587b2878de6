"""What engines cost, agreed on by the workers of a server: the first one measures, the others read its result.

The results stand in a file of the folder that the workers share. Whoever measures again merges its result with what
is there, so the file only gets nearer to what the engine costs on a quiet machine.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from models.tabular_model import TabularModel
from service import engine_cost
from service.engine_cost import EngineCost

FILE = "engine_costs.json"
LOCK_S = 5.0  # to wait for a worker that measures; one that is stopped must not keep the others from starting
POLL_S = 0.01
UNREADABLE = (OSError, ValueError, TypeError, AttributeError)  # there is none yet, or a full disk cut it off
log = logging.getLogger("tabserve.costs")


class SharedCosts:
    """folder: None where there are no other workers."""

    def __init__(self, folder: Path | None) -> None:
        self._file = folder and folder / FILE
        self._known: dict[str, EngineCost] = {}
        self._seen = 0  # when the file was changed last

    def measure(self, model: TabularModel) -> EngineCost:
        """What a model that is loaded now costs: as the workers agree, or measured where none has yet."""
        with self._locked(LOCK_S):
            known = self._read().get(model.tag)
            if known is None:
                return self._write(model.tag, engine_cost.measure(model))
            engine_cost.measure_round(model, engine_cost.clock_of(model))  # warms it up
            return known

    def measure_again(self, model: TabularModel) -> EngineCost | None:
        """Measure once more, and merge the result with what is known. None where another worker measures now."""
        with self._locked(0.0) as alone:
            if not alone:
                return None
            measured = engine_cost.measure(model)
            known = self._read().get(model.tag)
            return self._write(model.tag, known.merged(measured) if known else measured)

    def changes(self) -> Mapping[str, EngineCost]:
        """By tag, what other workers have written since the last call; cheap where there is nothing."""
        if self._file is None:
            return {}
        try:
            changed = self._file.stat().st_mtime_ns
        except OSError:
            return {}
        if changed == self._seen:
            return {}
        self._seen = changed
        return self._read()

    def _read(self) -> dict[str, EngineCost]:
        if self._file is not None:
            with contextlib.suppress(*UNREADABLE):
                self._known = {tag: EngineCost(**cost) for tag, cost in orjson.loads(self._file.read_bytes()).items()}
        return self._known

    def _write(self, tag: str, cost: EngineCost) -> EngineCost:
        self._known = {**self._known, tag: cost}
        if self._file is not None:
            content = orjson.dumps({tag: cost._asdict() for tag, cost in self._known.items()})
            part = self._file.with_suffix(f".{os.getpid()}")
            try:
                part.write_bytes(content)
                part.replace(self._file)
            except OSError as error:
                log.warning("workers cannot agree on what engines cost", extra={"reason": str(error)})
                with contextlib.suppress(OSError):
                    part.unlink()
        return cost

    @contextlib.contextmanager
    def _locked(self, seconds: float) -> Iterator[bool]:
        """Hold the lock of the file, if that is possible in time; whether it is held."""
        if self._file is None:
            yield True
            return
        try:
            opened = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.warning("workers cannot agree on what engines cost", extra={"reason": str(error)})
            yield True
            return
        try:
            yield lock(opened, seconds)
        finally:
            os.close(opened)


def lock(opened: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_S)
        else:
            return True
