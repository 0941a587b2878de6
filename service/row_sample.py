"""A bounded sample of the rows that a version predicts, stored until they are counted. Adding rows is cheap."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.frame import Frame, Row
from models.outputs import Outputs

MAX_REQUEST_ROWS = 16  # maximum number of rows of one request, so that one client does not dominate the sample
MAX_WAITING_ROWS = 512  # maximum number of rows between two calls of `take`, which are a second apart
SampledRows = tuple[Frame | Sequence[Row], Outputs | float]


class RowSample:
    """A sample of all requests or, if there are too many, of one in every `stride` requests, chosen at random.

    `add_rows` and `add_frame` are called on the event loop for each request, `take` once a second.
    """

    def __init__(self) -> None:
        self._answered = 0  # rows since the last `take`
        self._stride = 1
        self._until_next = 1  # requests up to and including the next sampled request
        self._position = 0  # position of the last sampled request among `stride` requests
        self._waiting: list[SampledRows] = []
        self._rows = 0  # waiting rows

    def add_rows(self, rows: Sequence[dict[str, Any]], outputs: Outputs | float) -> None:
        """Add a few rows of JSON values, with their outputs."""
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
        """Add rows as matrices. first: whether they are a request's first block; other blocks are not sampled."""
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
            chosen = spread(rows)  # `take` copies the rows, so the memory of a large request is freed
            self._keep((frame.take(chosen), outputs.take(chosen)), len(chosen))

    def take(self) -> tuple[Sequence[SampledRows], int]:
        """The sampled rows, and the number of answered rows that they represent, since the last call."""
        taken, answered = self._waiting, self._answered
        if self._rows <= MAX_WAITING_ROWS // 2:
            self._stride = max(1, self._stride // 2)
            self._until_next = min(self._until_next, self._stride)
            self._position = min(self._position, self._stride - 1)
        self._waiting, self._answered, self._rows = [], 0, 0
        return taken, answered

    def _keep(self, sampled: SampledRows, rows: int) -> None:
        self._waiting.append(sampled)
        self._rows += rows
        if self._rows > MAX_WAITING_ROWS:  # keep half of the rows, and halve the sampling rate
            self._stride *= 2
            self._waiting = self._waiting[::2]
            self._rows = sum(len(outputs) if isinstance(outputs, Outputs) else 1 for _, outputs in self._waiting)
        if self._stride == 1:
            self._until_next = 1
            return
        place = random.randrange(self._stride)
        self._until_next = max(self._stride - self._position + place, 1)
        self._position = place


def spread(rows: int) -> npt.NDArray[np.intp]:
    """(MAX_REQUEST_ROWS,) the positions of rows at equal distances."""
    return np.arange(MAX_REQUEST_ROWS) * rows // MAX_REQUEST_ROWS
