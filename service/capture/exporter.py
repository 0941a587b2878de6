"""The exporter: a thread of one worker that writes captured rows and feedback from the database to files.

A file is started when there are enough rows, or when the oldest row has waited long enough. The rows of a file are
selected before it is written, so that the next worker can write the file of a killed worker again, with the same name.
"""

import logging
import os
import threading
import time
from pathlib import Path

from models.capture_format import FEEDBACK as FEEDBACK_FOLDER
from models.capture_format import captured_time, file_name
from models.file_destination import FileDestination
from models.file_lock import lock_within
from models.schema import FeatureSchema
from service.capture.capture_database import FEEDBACK, ROWS, CaptureDatabase, PlannedFile, WaitingRows
from service.capture.captured_tables import feedback_as_parquet, rows_as_parquet
from service.capture.recorder import DAY_S, STOP_S
from service.thread_priority import lower_priority

POLL_S = 5.0
MAX_FILE_ROWS = 50_000
MAX_AGE_S = 300.0  # maximum age of rows that are not in a file
RETRY_S = 30.0  # delay after a failure
EXPIRE_S = 3600.0  # interval between two searches for old files
LOCK = "capture-export.lock"
log = logging.getLogger("tabserve.capture")


class Exporter:
    """The thread that writes files.

    folder: the folder of the lock with which one worker becomes the exporter; None if there is only one process.
    """

    def __init__(
        self, database: CaptureDatabase, destination: FileDestination, folder: Path | None, days: float
    ) -> None:
        """days: the age at which files are deleted."""
        self._database, self._destination, self._days = database, destination, days
        self._lock = None if folder is None else os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._leads = self._lock is None
        self._expire_at = self._retry_at = 0.0
        self._failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="capture-export", daemon=True)

    def start(self) -> None:
        """Start the thread. The leading worker imports pyarrow at the start, because a later import would delay
        requests."""
        if self._try_to_lead(0.0):
            import pyarrow.parquet  # noqa: F401
        self._thread.start()

    def stop(self) -> None:
        """Write the rows that are not in a file, and end the thread. Stops waiting if the destination stalls."""
        self._stop.set()
        self._thread.join(2 * STOP_S)

    def _work(self) -> None:
        lower_priority()
        while True:
            stopping = self._stop.wait(POLL_S)
            try:
                if self._try_to_lead(STOP_S if stopping else 0.0) and (stopping or time.monotonic() >= self._retry_at):
                    self.export(everything=stopping)
                    self._expire()
                    self._failing = False
            except Exception as error:  # the library of a destination may raise any exception
                self._retry_at = time.monotonic() + RETRY_S
                if not self._failing:
                    log.error("captured rows cannot be written to files", extra={"reason": one_line(error)})
                self._failing = True
            if stopping:
                self._release()
                return

    def export(self, *, everything: bool = False) -> None:
        """Write the files that are due. everything: whether to write files that are not due yet, too."""
        for file in self._database.incomplete_files():
            self._write(file)
        for kind in (ROWS, FEEDBACK):
            for waiting in self._database.waiting(kind):
                if everything or is_due(waiting):
                    self._export_version(kind, waiting)

    def _export_version(self, kind: str, waiting: WaitingRows) -> None:
        model, version, _ = self._database.version(waiting.version)
        for first, last in self._database.ranges(kind, waiting, MAX_FILE_ROWS):
            name = file_name(model, version if kind == ROWS else None, waiting.newest)
            planned = name if kind == ROWS else f"{FEEDBACK_FOLDER}/{name}"
            file = PlannedFile(planned, kind, waiting.version, first, last)
            self._database.plan_file(file)
            self._write(file)

    def _write(self, file: PlannedFile) -> None:
        _, version, text = self._database.version(file.version)
        schema = FeatureSchema.from_json(text)
        if file.kind == ROWS:
            rows = self._database.rows_of(file)
            content = rows_as_parquet(version, schema, rows) if rows else b""
        else:
            feedback = self._database.feedback_of(file)
            content = feedback_as_parquet(schema, feedback) if feedback else b""
        if content:  # it is empty if all rows were erased
            self._destination.write(file.name, content)
        self._database.complete_file(file)

    def _expire(self) -> None:
        """Delete files that are too old, once an hour."""
        if time.monotonic() < self._expire_at:
            return
        oldest = time.time() - self._days * DAY_S
        for name in [*self._destination.names(), *self._destination.names(FEEDBACK_FOLDER)]:
            written = captured_time(name.rpartition("/")[2])
            if written is not None and written < oldest:
                self._destination.remove(name)
        self._expire_at = time.monotonic() + EXPIRE_S

    def _try_to_lead(self, wait_s: float) -> bool:
        """Whether this worker is the exporter, or can become it.

        wait_s: the seconds to wait for another stopping worker, which may still write its last file.
        """
        if not self._leads:
            assert self._lock is not None
            self._leads = lock_within(self._lock, wait_s)
            if self._leads:
                self._destination.remove_unfinished()
        return self._leads

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock, self._leads = None, False


def is_due(waiting: WaitingRows) -> bool:
    return waiting.rows >= MAX_FILE_ROWS or waiting.oldest < time.time() - MAX_AGE_S


def one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
