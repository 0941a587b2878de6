"""A served model with all that answering by it takes: batcher, writers, counters, the fast path."""

import time
from functools import cached_property

import numpy as np

from models.fast.single_row import ClassShortcut, Shortcut
from models.formats import record_batches
from models.frame import Row
from models.outputs import Answers
from models.row_warnings import find_warnings
from models.tabular_model import TabularModel
from service.batcher import Batcher
from service.metrics import ModelCounters
from service.protocols.native import Writer
from service.settings import Settings

SMALL_BYTES = 16 * 1024  # up to there the short way is tried first


class ServedModel:
    """A model with all that answering it takes."""

    def __init__(self, model: TabularModel, tally: ModelCounters, settings: Settings) -> None:
        self.model = model
        self.tally = tally
        self.batcher = Batcher(model, tally, settings.queue_rows, settings.batching)
        self.writer = Writer(model)
        self._shortcut = Shortcut.of(model) or ClassShortcut.of(model)
        self._most_rows = min(self.batcher.plan.inline_rows, settings.max_rows)

    @cached_property
    def table(self) -> record_batches.RecordBatchWriter:
        """The form of answers as Arrow. Imports pyarrow."""
        return record_batches.RecordBatchWriter(self.model)

    def quickly(self, body: bytes) -> bytes | None:
        """The answer to what is most often asked: a few good rows in a small body, of which nothing is to be said and
        which are predicted at once. None for everything else, which the long way has to look at from the start."""
        schema = self.model.schema
        if (
            len(body) > SMALL_BYTES
            or (rows := schema.validators.parse_body(body)) is None
            or len(rows) > self._most_rows
        ):
            return None
        if self._shortcut and len(rows) == 1:
            answer = self._of_one(self._shortcut, rows[0])
            return None if answer is None else self.writer.one(answer)
        frame = schema.frames.from_rows(rows)
        if find_warnings(schema, frame, rows):
            return None
        answers = self.batcher.at_once(frame)
        if answers is None:
            return None
        self.tally.valid_rows += len(rows)
        return self.writer.plain(answers)

    def of_row(self, row: Row) -> Answers | None:
        """The answer to one row that is not checked yet, likewise."""
        schema = self.model.schema
        if self._most_rows < 1 or (rows := schema.validators.validate_values([row])) is None:
            return None
        if self._shortcut:
            answer = self._of_one(self._shortcut, rows[0])
            return np.array([[answer]]) if isinstance(answer, float) else answer
        frame = schema.frames.from_rows(rows)
        if find_warnings(schema, frame, rows) or (answers := self.batcher.at_once(frame)) is None:
            return None
        self.tally.valid_rows += 1
        return answers

    def _of_one(self, shortcut: Shortcut | ClassShortcut, row: Row) -> float | Answers | None:
        started = time.monotonic()
        try:
            answer = shortcut(row)
        except Exception:  # the long way meets it again, and tells
            return None
        if answer is None:
            return None
        tally = self.tally
        tally.engine_seconds.observe(time.monotonic() - started)
        tally.batch_rows.observe(1)
        tally.valid_rows += 1
        return answer
