"""A bounded sample of the rows that a version predicts, kept until they are counted; adding to it is cheap."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.frame import Frame, Row
from models.outputs import Outputs

MAX_REQUEST_ROWS = 16  # limit for one request, so that one client does not represent all
MAX_WAITING_ROWS = 512  # limit between two calls of `take`, which are a second apart
SampledRows = tuple[Frame | Sequence[Row], Outputs | float]


class RowSample:
    """A sample that takes every request until there are too many; then one of `stride` requests, chosen at random.

    `add_rows` and `add_frame` are called on the event loop for each request, `take` once a second.
    """

    def __init__(self) -> None:
        self._answered = 0  # rows since the last `take`
        self._stride = 1
        self._until_next = 1  # requests, including the one that is kept next
        self._place = 0  # position of the last kept request among `stride` requests
        self._waiting: list[SampledRows] = []
        self._rows = 0  # waiting rows

    def add_rows(self, rows: Sequence[dict[str, Any]], outputs: Outputs | float) -> None:
        """Add a few rows as JSON has them, with their outputs."""
        self._answered += len(rows)
        self._until_next -= 1
        if self._until_next:
            return
        if isinstance(outputs, float) or len(rows) <= MAX_REQUEST_ROWS:
            self._keep((rows, outputs), len(rows))
        else:
            chosen = spread(len(rows))
            self._keep(([rows[place] for place in chosen.tolist()], outputs.take(chosen)), len(chosen))

    def add_frame(self, frame: Frame, outputs: Outputs, *, first: bool = True) -> None:
        """Add rows as matrices. first: of their request; further blocks of a request are not sampled."""
        rows = len(outputs)
        self._answered += rows
        if not first:
            return
        self._until_next -= 1
        if self._until_next:
            return
        if rows <= MAX_REQUEST_ROWS:
            self._keep((frame, outputs), rows)
        else:
            chosen = spread(rows)  # a copy, so that the memory of a large request is freed
            self._keep((frame.take(chosen), outputs.take(chosen)), len(chosen))

    def take(self) -> tuple[Sequence[SampledRows], int]:
        """The sampled rows, and the number of rows that they represent: all answered since the last call."""
        taken, answered = self._waiting, self._answered
        if self._rows <= MAX_WAITING_ROWS // 2:
            self._stride = max(1, self._stride // 2)
            self._until_next = min(self._until_next, self._stride)
            self._place = min(self._place, self._stride - 1)
        self._waiting, self._answered, self._rows = [], 0, 0
        return taken, answered

    def _keep(self, sampled: SampledRows, rows: int) -> None:
        self._waiting.append(sampled)
        self._rows += rows
        if self._rows > MAX_WAITING_ROWS:  # keep half of them, and half as many from now on
            self._stride *= 2
            self._waiting = self._waiting[::2]
            self._rows = sum(len(outputs) if isinstance(outputs, Outputs) else 1 for _, outputs in self._waiting)
        if self._stride == 1:
            self._until_next = 1
            return
        place = random.randrange(self._stride)
        self._until_next = max(self._stride - self._place + place, 1)
        self._place = place


def spread(rows: int) -> npt.NDArray[np.intp]:
    """(MAX_REQUEST_ROWS,) places of rows at equal distances."""
    return np.arange(MAX_REQUEST_ROWS) * rows // MAX_REQUEST_ROWS
