"""Capture: stores a random sample of the requests as Parquet files. No request waits for it.

event loop ──▶ queue ──▶ recorder (each worker) ──▶ database ──▶ exporter (one worker) ──▶ folder or URL
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.capture_format import FROM_FEEDBACK
from models.file_destination import open_destination
from models.frame import Row
from models.outputs import Outputs
from service.capture.capture_database import CaptureDatabase, FeedbackBatch, FoundRow, RowBatch
from service.capture.capture_queue import CaptureQueue
from service.capture.exporter import Exporter
from service.capture.recorder import CountRows, Recorder
from service.metrics import Metrics
from service.served_model import ServedModel
from service.settings import Settings


class Capture:
    """The capture of one worker.

    folder: the database's folder, which the workers share; None if there is only one process.
    """

    def __init__(self, settings: Settings, folder: Path | None, metrics: Metrics) -> None:
        """Raises OSError or sqlite3.Error."""
        assert settings.capture is not None
        days = settings.capture_days
        count: CountRows = metrics.captured_rows
        self.queue = CaptureQueue(settings.capture_share)
        self._database = CaptureDatabase(folder)
        self._recorder = Recorder(self.queue, self._database, count, settings.capture_redact, days)
        self._exporter = Exporter(self._database, open_destination(settings.capture), folder, days)

    def start(self) -> None:
        self._recorder.start()
        self._exporter.start()

    def stop(self) -> None:
        """Write the captured rows. Rows that cannot be written in a few seconds stay in the database."""
        self._recorder.stop()
        self._exporter.stop()

    def find(self, model: str, ids: Sequence[str]) -> dict[str, FoundRow]:
        """Captured rows by their id. Raises sqlite3.Error."""
        return self._database.find(model, ids)

    def mark_judged(self, model: str, ids: Sequence[str]) -> set[str]:
        """Mark rows as judged. Returns the ids that were not judged before. Raises sqlite3.Error."""
        return self._database.mark_judged(model, ids)

    def store_feedback(self, served: ServedModel, ids: Sequence[str], truths: Sequence[Any], seconds: float) -> None:
        """Store the true target values of rows, for training. Raises sqlite3.Error."""
        batch = FeedbackBatch([*ids], [seconds] * len(ids), [*truths])
        self._database.add_feedback(served.compiled(self._recorder.plan_of).key, batch)

    def store_rows(
        self, served: ServedModel, ids: Sequence[str], rows: Sequence[Row], outputs: Outputs, seconds: float
    ) -> None:
        """Store rows that were reported with their truth, and this version's predictions for them."""
        plan = served.compiled(self._recorder.plan_of)
        values = [*map(plan.values, rows)]
        times = [seconds] * len(ids)
        batch = RowBatch(plan.names, [*ids], times, FROM_FEEDBACK, values, outputs.primary.tolist())
        self._recorder.store({plan.key: batch})
