"""The engine costs that the workers of a server share. The first worker measures; the other workers read its result.

The results are in a file in the shared folder of the workers. A worker that measures again merges its result into the
file, so the costs only approach those on an idle machine.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import orjson

from models.atomic_file import replace_file
from models.file_lock import lock_if_possible
from models.tabular_model import TabularModel
from service import engine_cost
from service.engine_cost import EngineCost

FILE = "engine_costs.json"
LOCK_S = 5.0  # the longest wait for a measuring worker, which must not block the other workers if it has stopped
UNREADABLE = (OSError, ValueError, TypeError, AttributeError)  # no file yet, or truncated by a full disk
log = logging.getLogger("tabserve.costs")


class SharedCosts:
    """The file of costs. folder: the folder that the workers share; None if there is only one worker."""

    def __init__(self, folder: Path | None) -> None:
        self._file = folder and folder / FILE
        self._known: dict[str, EngineCost] = {}
        self._seen = 0  # the modification time at the last read

    def measure(self, models: Sequence[TabularModel]) -> list[EngineCost]:
        """The engine costs of models that are being loaded: shared costs if they exist, else measured costs."""
        with self._locked(LOCK_S):
            known = dict(self._read())
            unknown = [model for model in models if model.tag not in known]
            for model in models:
                if model.tag in known:
                    engine_cost.measure_round(model, engine_cost.engine_clock(model))  # warms the engine up
            for model, cost in zip(unknown, engine_cost.measure_all(unknown), strict=True):
                known[model.tag] = self._write(model.tag, cost)
            return [known[model.tag] for model in models]

    def measure_again(self, model: TabularModel) -> EngineCost | None:
        """Measure again and merge the result. Returns None if another worker is measuring."""
        with self._locked(0.0) as alone:
            if not alone:
                return None
            measured = engine_cost.measure(model)
            known = self._read().get(model.tag)
            return self._write(model.tag, known.merged(measured) if known else measured)

    def changes(self) -> Mapping[str, EngineCost]:
        """The costs, by tag, that other workers have written since the last call. The call is cheap if nothing has
        changed."""
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
            try:
                replace_file(self._file, content)
            except OSError as error:
                log.warning("workers cannot share the engine costs", extra={"reason": str(error)})
        return cost

    @contextlib.contextmanager
    def _locked(self, seconds: float) -> Iterator[bool]:
        """Try to lock the file within `seconds`. Yields whether it is locked."""
        if self._file is None:
            yield True
            return
        try:
            opened = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.warning("workers cannot share the engine costs", extra={"reason": str(error)})
            yield True
            return
        try:
            yield lock_if_possible(opened, seconds)
        finally:
            os.close(opened)
