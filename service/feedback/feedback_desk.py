"""Feedback: compares the truth that clients report with the predictions of the served versions."""

import asyncio
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from models.aliases import CHAMPION
from models.cell_parsing import read_rows
from models.feature import Scalar
from models.outputs import Outputs
from models.rows import validate_rows
from service.confidence_sequence import Moments
from service.errors import NotReady, QueueFull, RequestNotValid
from service.feedback.live_metrics import LiveMetrics, MetricKey
from service.feedback.live_report import CANARY, COVERAGE, DIFFERENCE, ERROR
from service.feedback.version_judge import Vector, VersionJudge
from service.metrics import Metrics
from service.protocols.feedback import IdFeedback, RowFeedback
from service.protocols.parsing import error_entry
from service.registry import ModelEntry
from service.served_model import ServedModel
from service.thread_priority import lower_priority

if TYPE_CHECKING:  # only workers with capture import these modules
    from service.capture.capture import Capture
    from service.capture.capture_database import FoundRow

MAX_WAITING = 16  # requests
JUDGED, UNMATCHED, REPEATED = "judged", "unmatched", "repeated"
CAPTURE_OFF = 'feedback by id needs capture (TABSERVE_CAPTURE), which is off: send {"rows": [...]}'
log = logging.getLogger("tabserve.feedback")
T = TypeVar("T")


class FeedbackCounts(NamedTuple):
    """The numbers of rows that were compared with predictions, that have an unknown id, and that were compared
    earlier."""

    judged: int
    unmatched: int = 0
    repeated: int = 0


class JudgedRow(NamedTuple):
    """A row and its truth. found: the captured row with the same id; None if the feedback contains the row."""

    row: Any
    truth: Scalar
    found: "FoundRow | None" = None


class FeedbackDesk:
    """Handles feedback in a thread of low priority, one request after another."""

    def __init__(self, live: LiveMetrics, metrics: Metrics, capture: "Capture | None") -> None:
        self.live = live
        self._metrics, self._capture = metrics, capture
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feedback", initializer=lower_priority)
        self._waiting = 0

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run work in the thread. Raises QueueFull, and NotReady if the database cannot be used."""
        if self._waiting >= MAX_WAITING:
            raise QueueFull(f"{self._waiting} requests with feedback are waiting")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except sqlite3.Error as error:
            log.error("feedback cannot be stored", extra={"reason": str(error), "request_id": None})
            raise NotReady("feedback cannot be stored now") from error
        finally:
            self._waiting -= 1

    def accept(self, entry: ModelEntry, feedback: RowFeedback | IdFeedback) -> FeedbackCounts:
        """Judge all served versions by the feedback, and store the feedback for training. Raises RequestError or
        sqlite3.Error."""
        counts = (
            self._accept_rows(entry, feedback)
            if isinstance(feedback, RowFeedback)
            else self._accept_ids(entry, feedback)
        )
        for result, count in zip((JUDGED, UNMATCHED, REPEATED), counts, strict=True):
            if count:
                self._metrics.feedback_rows(entry.name, result, count)
        return counts

    def _accept_rows(self, entry: ModelEntry, feedback: RowFeedback) -> FeedbackCounts:
        rows = [JudgedRow(row, truth) for row, truth in zip(feedback.rows, feedback.truths, strict=True)]
        outputs = self._judge(entry, rows)
        if self._capture is not None and outputs is not None:
            prefix, now, champion = f"feedback-{uuid.uuid4().hex}", time.time(), entry.champion
            ids = [f"{prefix}:{number}" for number in range(len(rows))]
            read: Sequence[Any] = read_rows(champion.model.schema.value_readers, feedback.rows)
            self._capture.store_rows(champion, ids, read, outputs, now)
            self._capture.store_feedback(champion, ids, feedback.truths, now)
        return FeedbackCounts(len(rows))

    def _accept_ids(self, entry: ModelEntry, feedback: IdFeedback) -> FeedbackCounts:
        if self._capture is None:
            raise RequestNotValid(CAPTURE_OFF, [error_entry("capture_off", CAPTURE_OFF, "feedback")])
        self._capture.store_feedback(entry.champion, feedback.ids, feedback.truths, time.time())
        truths = dict(reversed([*zip(feedback.ids, feedback.truths, strict=True)]))  # the first truth of each id
        found = self._capture.find(entry.name, [*truths])
        fresh = self._capture.mark_judged(entry.name, [*found])
        rows = [JudgedRow(found[name].row, truths[name], found[name]) for name in found if name in fresh]
        if rows:
            self._judge(entry, rows)
        unmatched = sum(name not in found for name in feedback.ids)
        return FeedbackCounts(len(rows), unmatched, len(feedback.ids) - unmatched - len(rows))

    def _judge(self, entry: ModelEntry, rows: Sequence[JudgedRow]) -> Outputs | None:
        """Add the errors of all served versions. Returns the champion's outputs for complete rows."""
        observed: dict[MetricKey, Sequence[float]] = {}
        by_version: dict[str, Vector] = {}
        champion_outputs = None
        for version, served in entry.versions.items():
            try:
                errors, covered, outputs = judge_version(served, rows)
            except Exception:  # if one engine fails, the other versions are still judged
                log.exception("a version cannot be judged", extra={"model": served.model.tag, "request_id": None})
                continue
            by_version[version] = errors
            observed[MetricKey(version, ERROR)] = errors[~np.isnan(errors)].tolist()
            observed[MetricKey(version, COVERAGE)] = covered.tolist()
            if version == entry.aliases[CHAMPION]:
                champion_outputs = outputs
        champion, scale = entry.aliases[CHAMPION], entry.champion.compiled(VersionJudge).scale
        for version in by_version if champion in by_version else ():
            if version != champion:  # in the champion's unit, because the versions may have different scales
                own = by_version[version] * (entry.versions[version].compiled(VersionJudge).scale / scale)
                pairs = np.minimum(own, 1.0) - by_version[champion]
                differences: list[float] = ((pairs[~np.isnan(pairs)] + 1) / 2).tolist()
                observed[MetricKey(version, DIFFERENCE + champion)] = differences
                if entry.canary and version in entry.split:
                    observed[MetricKey(version, CANARY + entry.canary)] = differences
        self.live.add(entry.name, {key: values for key, values in observed.items() if values})
        return champion_outputs

    def sums(self, model: str, since: float) -> dict[MetricKey, Moments]:
        """Raises sqlite3.Error."""
        return self.live.sums(model, since) if self.live.has_feedback else {}

    def begin_canary(self, model: str, canary: str) -> None:
        """Forget the feedback from an earlier canary of the same versions and shares. Raises sqlite3.Error."""
        self.live.forget(model, CANARY + canary)


def judge_version(served: ServedModel, rows: Sequence[JudgedRow]) -> tuple[Vector, Vector, Outputs]:
    """Predict rows with a version. Returns its errors (NaN for rows that it cannot predict), whether its intervals
    cover the truth, and its outputs for complete rows."""
    judge, schema = served.compiled(VersionJudge), served.model.schema
    errors = np.full(len(rows), np.nan)
    validated = validate_rows(schema, [row.row for row in rows])
    valid = [*range(len(rows))] if validated.valid is None else [*validated.valid]
    truths = [rows[position].truth for position in valid]
    covered = np.empty(0)
    if valid:
        outputs = judge.predict(validated)
        errors[valid] = judge.errors(outputs.primary, truths)
        if judge.has_coverage:
            covered = judge.covered(outputs, truths)
    else:
        outputs = Outputs(np.empty((0, 0)))
    for position, (_, truth, found) in enumerate(rows):  # the captured outputs are used for rows with redacted columns
        if np.isnan(errors[position]) and found is not None and found.version == served.version:
            errors[position] = judge.errors(np.array([found.outputs]), [truth])[0]
    return errors, covered, outputs
