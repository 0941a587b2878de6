"""Shadows: copies of rows are predicted by a second version, and compared. No request waits for them.

The queue is bounded; rows that do not fit are dropped. One thread of low priority works on it.
"""

import contextlib
import logging
import queue
import random
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.aliases import CHAMPION
from models.frame import Frame, Row
from models.frame_translation import FrameTranslation
from models.outputs import Outputs
from models.tabular_model import TabularModel
from service.metrics import DIFFERENCES, HistogramBuckets, Metrics
from service.registry import Snapshot
from service.served_model import ServedModel
from service.thread_priority import lower_priority

MAX_WAITING = 200  # requests in the queue
MAX_ROWS = 1000  # limit for one request: further rows are dropped
log = logging.getLogger("tabserve.shadow")


class ShadowTarget(NamedTuple):
    """The shadow of a model: which version it copies, and which one predicts the copies."""

    champion: str
    model: TabularModel
    share: float
    translation: FrameTranslation


class ShadowJob(NamedTuple):
    target: ShadowTarget
    source: TabularModel
    rows: Frame | Sequence[Row]
    outputs: Outputs


class ShadowQueue:
    """active: whether any model has a shadow. `samples` and `put` are called on the event loop."""

    def __init__(self, metrics: Metrics) -> None:
        self.active = False
        self._metrics = metrics
        self._targets: dict[str, ShadowTarget] = {}
        self._jobs: queue.Queue[ShadowJob | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None

    def follow(self, snapshot: Snapshot) -> None:
        """Copy rows according to this snapshot."""
        targets = {}
        for name, entry in snapshot.entries.items():
            if entry.shadow is None or entry.aliases[entry.shadow.alias] == entry.aliases[CHAMPION]:
                continue
            shadow = entry.find(alias=entry.shadow.alias).model
            try:
                translation = FrameTranslation(entry.champion.model.schema, shadow.schema)
            except ValueError as error:
                log.warning("no shadow", extra={"model": shadow.tag, "reason": str(error)})
                continue
            targets[name] = ShadowTarget(entry.champion.version, shadow, entry.shadow.share, translation)
        self._targets, self.active = targets, bool(targets)
        if targets and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()

    def samples(self, served: ServedModel) -> bool:
        """Whether to copy the rows of a request to this version."""
        target = self._targets.get(served.name)
        return target is not None and target.champion == served.version and random.random() < target.share

    def put(self, served: ServedModel, rows: Frame | Sequence[Row], outputs: Outputs) -> None:
        """Queue rows and the champion's predictions. Drops them if the queue is full."""
        target = self._targets[served.name]
        try:
            if len(outputs) > MAX_ROWS:
                raise queue.Full
            self._jobs.put_nowait(ShadowJob(target, served.model, rows, outputs))
        except queue.Full:
            self._metrics.shadow_dropped(served.name, target.model.version, len(outputs))

    def close(self) -> None:
        """End the thread."""
        self.active = False
        if self._thread is not None:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._jobs.get_nowait()
            self._jobs.put(None)

    def _work(self) -> None:
        lower_priority()
        while (job := self._jobs.get()) is not None:
            try:
                differences = compare(job)
            except Exception:
                # With the field of lines about requests, whose rate is limited
                log.exception("a shadow failed", extra={"model": job.target.model.tag, "request_id": None})
                self._metrics.shadow_dropped(job.source.name, job.target.model.version, len(job.outputs))
            else:
                self._metrics.shadow(job.source.name, job.target.model.version, differences)
            del job  # the version may be freed while the thread waits


def compare(job: ShadowJob) -> HistogramBuckets:
    """The difference of each row: of values in standard deviations of the target, of probabilities the largest one."""
    frame = job.rows if isinstance(job.rows, Frame) else job.source.schema.frames.from_rows(job.rows)
    predicted = job.target.model.predict(job.target.translation.translate(frame)).primary
    buckets = HistogramBuckets(DIFFERENCES)
    champion = job.outputs.primary
    if predicted.shape != champion.shape:
        raise ValueError("the versions have other classes")
    for difference in np.abs(predicted - champion).max(axis=1) / job.source.tolerance():
        buckets.observe(float(difference))
    return buckets
