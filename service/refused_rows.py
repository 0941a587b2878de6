"""Counts the refused rows of a version and their errors by column, over windows of time and all workers."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.rows import RowError
from service.window_counters import WindowCounters

ROWS, OTHERS, COLUMNS = range(3)  # positions: refused rows, errors outside of known columns, errors of each column


class RefusedRows:
    """The counts of one version. `add` and `take` are called on the event loop, `count` in a thread."""

    def __init__(self, folder: Path | None, subject: str, columns: Iterable[str]) -> None:
        """folder, subject: as in `WindowCounters`."""
        self._columns = [*columns]
        self._places = {name: place for place, name in enumerate(self._columns, COLUMNS)}
        self._width = COLUMNS + len(self._columns)
        self._added = [0] * self._width  # counts since the last `take`
        digest = hashlib.sha256("\0".join(self._columns).encode()).hexdigest()[:12]
        self._windows = WindowCounters(folder, f"refused-{subject}-{digest}", self._width)

    def add(self, rows: int, errors: Iterable[RowError]) -> None:
        """Count refused rows. errors: the errors that the response lists, which may not be all."""
        added = self._added
        added[ROWS] += rows
        for _, name, _, _ in errors:
            added[OTHERS if name is None else self._places.get(name, OTHERS)] += 1

    def take(self) -> Sequence[int]:
        """The counts that were added since the last call."""
        taken, self._added = self._added, [0] * self._width
        return taken

    def count(self, taken: Sequence[int]) -> None:
        if any(taken):
            self._windows.add(np.array(taken, dtype=np.int64))

    def report(self, seconds: float) -> dict[str, Any]:
        """The refused rows of all workers in this time, and the number of errors of each column with errors."""
        counts = np.maximum(self._windows.total(seconds).counts, 0).tolist()  # damaged counts must not be negative
        names = ["", *self._columns]
        errors = {name: count for name, count in zip(names, counts[OTHERS:], strict=True) if count}
        return {"rows": counts[ROWS], "errors": errors}

    def close(self) -> None:
        self._windows.close()
