"""The recorder: a thread that moves captured rows from the queue to the database."""

import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from models.capture_format import FROM_REQUEST, PREFIX
from models.frame import Row, value_getter
from models.tabular_model import TabularModel
from service.capture.capture_database import CaptureDatabase, RowBatch, VersionKey
from service.capture.capture_queue import CapturedRequest, CaptureQueue
from service.thread_priority import lower_priority

FLUSH_S = 1.0
PRUNE_S = 60.0
YIELD_REQUESTS = 64
DAY_S = 86_400.0
MAX_ROW_CHARACTERS = 64 * 1024  # limit for the text of a row: larger rows are dropped
STOP_S = 5.0
CountRows = Callable[[str, str, str, int], None]
"""Counts rows of a model and a version by their outcome."""
CAPTURED, QUEUE_FULL, NOT_STORED, TOO_LARGE, NO_FILE = "captured", "queue_full", "not_stored", "too_large", "no_file"
log = logging.getLogger("tabserve.capture")


class CapturePlan(NamedTuple):
    """What is captured for a version. names: the columns that the model uses, without redacted columns.

    values: returns the values of these columns of a row. has_text: whether some values may be text.
    """

    key: VersionKey
    names: Sequence[str]
    values: Callable[[Row], Sequence[Any]]
    has_text: bool

    def new_batch(self, source: str) -> RowBatch:
        return RowBatch(self.names, [], [], source, [], [])


class Recorder:
    def __init__(
        self, queue: CaptureQueue, database: CaptureDatabase, count: CountRows, redacted: Iterable[str], days: float
    ) -> None:
        """redacted: columns that are not captured. days: the age at which rows are deleted."""
        self._queue, self._database, self._count = queue, database, count
        self._redacted, self._days = frozenset(redacted), days
        self._dropped = 0
        self._failing = False
        self._prune_at = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="capture", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Store the queued rows, and end the thread. Stops waiting if the disk stalls."""
        self._stopping = True
        self._queue.wake.set()
        self._thread.join(STOP_S)

    def _work(self) -> None:
        lower_priority()
        while True:
            self._queue.wake.wait(FLUSH_S)
            self._queue.wake.clear()
            stopping = self._stopping
            try:
                self.flush()
                self.prune()
            except Exception:
                log.exception("captured rows are lost")
            if stopping:
                return

    def flush(self) -> None:
        """Store the queued rows. Rows that cannot be stored are counted and dropped."""
        requests, dropped = self._queue.take(), self._queue.dropped
        if dropped > self._dropped:
            self._count("", "", QUEUE_FULL, dropped - self._dropped)
            self._dropped = dropped
        batches: dict[VersionKey, RowBatch] = {}
        for number, request in enumerate(requests):
            if number % YIELD_REQUESTS == 0:
                time.sleep(0)  # otherwise the event loop waits for Python's switch interval of 5 ms
            plan = request.served.compiled(self.plan_of)
            if (batch := batches.get(plan.key)) is None:
                batch = batches[plan.key] = plan.new_batch(FROM_REQUEST)
            self._add(plan, batch, request)
        self.store({key: batch for key, batch in batches.items() if batch.ids})

    def store(self, batches: Mapping[VersionKey, RowBatch]) -> None:
        """Store rows, or count them as lost."""
        if not batches:
            return
        try:
            self._database.add_rows(batches)
        except sqlite3.Error as error:
            if not self._failing:
                log.error("captured rows cannot be stored", extra={"reason": str(error)})
            self._failing, result = True, NOT_STORED
        else:
            self._failing, result = False, CAPTURED
        for (model, version, _), batch in batches.items():
            self._count(model, version, result, len(batch.ids))

    def _add(self, plan: CapturePlan, batch: RowBatch, request: CapturedRequest) -> None:
        request_id, outputs = request.request_id, request.outputs
        prefix = request_id.decode("latin-1") if isinstance(request_id, bytes) else request_id or uuid.uuid4().hex
        lists = [[outputs]] if isinstance(outputs, float) else outputs.tolist()
        for number, row, output in zip(request.numbers, request.rows, lists, strict=True):
            values = plan.values(row)
            if plan.has_text and sum(len(value) for value in values if isinstance(value, str)) > MAX_ROW_CHARACTERS:
                self._count(plan.key[0], plan.key[1], TOO_LARGE, 1)
                continue
            batch.ids.append(f"{prefix}:{number}")
            batch.times.append(request.time)
            batch.rows.append(values)
            batch.outputs.append(output)

    def plan_of(self, model: TabularModel) -> CapturePlan:
        features = [
            feature
            for feature in model.schema.features
            if feature.name not in self._redacted and not feature.name.startswith(PREFIX)
        ]
        key = (model.name, model.version, model.schema.to_json().encode())
        has_text = any(feature.kind in ("category", "date", "text") for feature in features)
        return CapturePlan(key, [feature.name for feature in features], value_getter(features), has_text)

    def prune(self) -> None:
        """Delete old rows once a minute, and the oldest rows if there are too many."""
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + PRUNE_S
        try:
            lost = self._database.prune(time.time() - self._days * DAY_S)
        except sqlite3.Error as error:
            log.warning("old captured rows cannot be deleted", extra={"reason": str(error)})
            return
        if lost:
            self._count("", "", NO_FILE, lost)
