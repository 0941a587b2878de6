"""The queue of captured requests: filled on the event loop, emptied by a thread. Rows that do not fit are dropped."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from random import random
from typing import Any, NamedTuple

from models.frame import Frame, Row
from models.original_rows import MAX_SAMPLED_ROWS, original_rows, spaced_positions
from models.outputs import Outputs
from models.rows import ValidatedRows
from models.schema import FeatureSchema
from service.served_model import ServedModel

MAX_WAITING_ROWS = 8192
WAKE_ROWS = 2048  # with more waiting rows, the thread is woken early


class CapturedRequest(NamedTuple):
    """Some rows of a request.

    numbers: the positions of the rows in the request. outputs: the value of a single row, or an array (rows, ...).
    """

    time: float
    served: ServedModel
    request_id: bytes | str
    numbers: Sequence[int]
    rows: Sequence[Row]
    outputs: Any


class CaptureQueue:
    """The queue of captured requests. `take` is called in a thread, the other methods on the event loop.

    share: the share of the requests that is captured.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.wake = threading.Event()
        self.dropped = 0  # rows since the start
        self._requests: deque[CapturedRequest] = deque()
        self._added = self._taken = 0  # rows since the start; each count is changed by one thread only

    def is_sampled(self) -> bool:
        """Whether the next request is captured, chosen at random."""
        return random() < self.share

    def put_rows(
        self, served: ServedModel, rows: Sequence[Row], outputs: Outputs | float, request_id: bytes | str
    ) -> None:
        """Queue valid rows and their predictions. The caller must not change them afterwards."""
        if len(rows) == 1:
            array = outputs if isinstance(outputs, float) else outputs.primary
            self._add(CapturedRequest(time.time(), served, request_id, (0,), rows, array))
            return
        assert not isinstance(outputs, float)
        positions, sampled = original_rows(rows)
        self._add(
            CapturedRequest(
                time.time(), served, request_id, positions, sampled, outputs.primary[:: positions.step].copy()
            )
        )

    def put(self, served: ServedModel, rows: ValidatedRows, outputs: Outputs, request_id: str) -> None:
        """Queue some of the valid rows and their predictions."""
        if rows.original is None:
            positions = spaced_positions(len(rows.frame.numbers))
            sampled: Sequence[Row] = rows_of_numbers(served.model.schema, rows.frame, positions)
        else:
            positions, sampled = rows.original.positions, [*rows.original.rows]
        numbers = positions if rows.valid is None else [rows.valid[position] for position in positions]
        primary = outputs.primary[positions.start : positions.stop : positions.step].copy()
        self._add(CapturedRequest(time.time(), served, request_id, numbers, sampled, primary))

    def _add(self, request: CapturedRequest) -> None:
        count, waiting = len(request.rows), self._added - self._taken
        if waiting + count > MAX_WAITING_ROWS:
            self.dropped += count
            return
        self._added += count
        self._requests.append(request)
        if waiting > WAKE_ROWS:
            self.wake.set()

    def take(self) -> list[CapturedRequest]:
        """Remove and return all waiting requests. Only one thread may call it."""
        taken = [self._requests.popleft() for _ in range(len(self._requests))]
        self._taken += sum(len(request.rows) for request in taken)
        return taken


def rows_of_numbers(schema: FeatureSchema, frame: Frame, positions: range) -> list[Row]:
    """Rows from a frame whose schema has only numbers."""
    names = [feature.name for feature in schema.numeric]
    assert schema.only_numbers
    assert len(positions) <= MAX_SAMPLED_ROWS
    rows = frame.numbers[positions.start : positions.stop : positions.step].tolist()
    return [dict(zip(names, row, strict=True)) for row in rows]
