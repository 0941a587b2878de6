"""Shadows: a second version predicts copies of rows, and its predictions are compared. No request waits for them.

The queue is bounded; rows that do not fit are dropped. The predictions are made in a process of the lowest priority, so
that they delay no request; a version without files predicts in a thread of the worker.
"""

import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.aliases import CHAMPION
from models.differences import differences
from models.frame import Frame, Row
from models.frame_translation import FrameTranslation
from models.outputs import Array, Outputs
from models.tabular_model import TabularModel
from service.background_client import BackgroundClient, ProcessNotStarted, ProcessUnavailable, describe
from service.metrics import DIFFERENCES, HistogramBuckets, Metrics
from service.registry import Snapshot
from service.served_model import ServedModel

MAX_WAITING = 200  # maximum number of requests in the queue
MAX_ROWS = 1000  # maximum number of rows of one request; further rows are dropped
RETRY_S = 600.0  # delay before the process tries again to load a version
log = logging.getLogger("tabserve.shadow")


class ShadowTarget(NamedTuple):
    """The shadow of a model: the version whose rows are copied, and the version that predicts the copies."""

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
    """The queue of copied rows. active: whether any model has a shadow. `is_sampled` and `put` are called on the event
    loop."""

    def __init__(self, metrics: Metrics, trusted_keys: Sequence[Path] = ()) -> None:
        """trusted_keys: as in `BackgroundClient`."""
        self.active = False
        self._metrics, self._trusted_keys = metrics, trusted_keys
        self._targets: dict[str, ShadowTarget] = {}
        self._worker: ShadowWorker | None = None

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
        if not targets:
            self.close()
        elif self._worker is None:
            self._worker = ShadowWorker(self._metrics, self._trusted_keys)
        self._targets, self.active = targets, bool(targets)

    def is_sampled(self, served: ServedModel) -> bool:
        """Whether to copy the rows of the next request to this version, chosen at random."""
        target = self._targets.get(served.name)
        return target is not None and target.champion == served.version and random.random() < target.share

    def put(self, served: ServedModel, rows: Frame | Sequence[Row], outputs: Outputs) -> None:
        """Queue rows and the champion's predictions. Drops them if the queue is full."""
        target = self._targets[served.name]
        job = ShadowJob(target, served.model, rows, outputs)
        if self._worker is None or len(outputs) > MAX_ROWS or not self._worker.put(job):
            self._metrics.shadow_dropped(served.name, target.model.version, len(outputs))

    def close(self) -> None:
        """Stop copying rows."""
        self.active = False
        if self._worker is not None:
            self._worker.close()
            self._worker = None


class ShadowWorker:
    """Processes the queue: a thread, and the process that predicts."""

    def __init__(self, metrics: Metrics, trusted_keys: Sequence[Path]) -> None:
        self._metrics = metrics
        self._jobs: queue.Queue[ShadowJob | None] = queue.Queue(MAX_WAITING)
        self._process = BackgroundClient("shadow", trusted_keys, urgent=False)
        self._in_worker: dict[str, float] = {}  # the versions that predict in this worker, and until when
        self._closed = False
        threading.Thread(target=self._work, name="shadow", daemon=True).start()

    def put(self, job: ShadowJob) -> bool:
        """Queue a job. Returns whether the queue had space for it."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """End the thread and the process. Waiting jobs are dropped."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        self._jobs.put(None)
        self._process.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                found = self._differences(job)
            except Exception:
                if self._closed:  # `close` has ended the process
                    break
                # The field `request_id` applies the rate limit to these log lines
                log.exception("a shadow failed", extra={"model": job.target.model.tag, "request_id": None})
                self._metrics.shadow_dropped(job.source.name, job.target.model.version, len(job.outputs))
            else:
                self._metrics.shadow(job.source.name, job.target.model.version, histogram(found, job.source))
            del job  # the version may be freed while the thread waits
        self._process.stop()

    def _differences(self, job: ShadowJob) -> Array:
        """The difference of each row (rows,). Raises ProcessNotStarted, ProcessEnded, ValueError or RuntimeError."""
        model = job.target.model
        frame = job.rows if isinstance(job.rows, Frame) else job.source.schema.frames.from_rows(job.rows)
        frame, outputs = job.target.translation.translate(frame), job.outputs.primary
        if model.folder is None or self._in_worker.get(model.tag, 0.0) > time.monotonic():
            return differences(model, frame, outputs)
        try:
            (found,) = self._process.request("compare", describe(model), [*frame, outputs]).arrays
        except ProcessNotStarted:  # probably the machine has no idle time, so the worker has none either
            raise
        except ProcessUnavailable as error:
            log.warning("the shadow predicts in the worker", extra={"model": model.tag, "reason": str(error)})
            self._in_worker[model.tag] = time.monotonic() + RETRY_S
            return differences(model, frame, outputs)
        return found


def histogram(found: Array, source: TabularModel) -> HistogramBuckets:
    """Differences (rows,) in standard deviations of the target, or of probabilities."""
    buckets = HistogramBuckets(DIFFERENCES)
    scaled = found / source.tolerance()
    places = np.searchsorted(DIFFERENCES, scaled)
    buckets.counts = np.bincount(places, minlength=len(buckets.counts)).tolist()
    buckets.total = float(scaled.sum())
    return buckets
