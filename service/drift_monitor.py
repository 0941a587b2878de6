"""Counts the rows of each served version that has a reference, and reports how they differ from it."""

import asyncio
import hashlib
import logging
import os
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.frame import Frame, Row
from models.outputs import Outputs
from models.tabular_model import TabularModel
from service.refused_rows import RefusedRows
from service.row_sample import RowSample, SampledRows
from service.served_model import ServedModel
from service.window_counters import DAY, HOUR, WEEK, CountedWindow, WindowCounters, remove_old_files

if TYPE_CHECKING:  # imported for versions that have a reference
    from models.drift.counter import DriftCounts
    from models.drift.reference import DriftReference

DEFAULT_WINDOWS = (HOUR, DAY, WEEK)
log = logging.getLogger("tabserve.drift")


class WatchedVersion:
    """A version with a reference: the sample of its rows, and their counters."""

    def __init__(self, served: ServedModel, reference: "DriftReference", folder: Path | None) -> None:
        from models.drift.counter import DriftCounter

        digest = hashlib.sha256(reference.to_json().encode()).hexdigest()[:12]  # other bins have other counters
        self.model = model = served.model
        self.reference = reference
        self.sample = RowSample()
        self._counter = DriftCounter(model.schema, reference, model)
        subject = f"{model.name}-{model.version}"
        self._windows = WindowCounters(folder, f"drift-{subject}-{digest}", self._counter.width)
        self.refused = RefusedRows(folder, subject, served.error_columns)

    def count(self, sampled: Sequence[SampledRows], answered: int) -> None:
        """Add sampled rows, which represent `answered` rows, to the counters."""
        if answered:
            frame, outputs = joined(self.model, sampled)
            self._windows.add(self._counter.count(frame, outputs, answered))

    def window(self, seconds: float | None) -> tuple[float, CountedWindow, "DriftCounts"]:
        """The seconds of the window, and the counts of all workers in it.

        seconds: None for the shortest default window that has enough rows.
        """
        from models.drift.drift_report import MIN_ALARM_ROWS

        for choice in DEFAULT_WINDOWS if seconds is None else (seconds,):
            window = self._windows.total(choice)
            counts = self._counter.read(window.counts)
            if counts.counted >= MIN_ALARM_ROWS:
                break
        return choice, window, counts

    def close(self) -> None:
        self._windows.close()
        self.refused.close()


class DriftMonitor:
    """folder: shared by the workers, or one that also outlives the server; None for a single process."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # protects the counters
        self._watched: dict[RowSample, WatchedVersion] = {}
        if folder is not None:
            remove_old_files(folder)

    def follow(self, served: Iterable[ServedModel]) -> None:
        """Count the rows of exactly these versions from now on."""
        served = list(served)
        for version in served:
            if version.sample is None and version.model.reference is not None:
                watched = WatchedVersion(version, version.model.reference, self._folder)
                version.sample, version.refused = watched.sample, watched.refused
                self._watched[watched.sample] = watched
        for sample in self._watched.keys() - {version.sample for version in served}:
            watched = self._watched.pop(sample)
            with self._lock:
                watched.count(*sample.take())
                watched.refused.count(watched.refused.take())
                watched.close()

    async def flush(self) -> None:
        """Count the rows sampled or refused since the last call, in a thread."""
        taken = [(watched, *watched.sample.take(), watched.refused.take()) for watched in self._watched.values()]
        await asyncio.to_thread(self._count, taken)

    def close(self) -> None:
        """Count the remaining sampled rows."""
        self.follow(())

    def _count(self, taken: Sequence[tuple[WatchedVersion, Sequence[SampledRows], int, Sequence[int]]]) -> None:
        with self._lock:
            for watched, sampled, answered, refused in taken:
                watched.count(sampled, answered)
                watched.refused.count(refused)

    def report(self, served: ServedModel, seconds: float | None = None, histograms: bool = False) -> dict[str, Any]:
        """The answer to `GET /drift` for a version, which reads files."""
        head = {"model": served.name, "version": served.version}
        watched = None if served.sample is None else self._watched.get(served.sample)
        if watched is None:
            reason = "this version has no reference.json: it was trained before tabserve stored one; train it again"
            return head | {"status": "no_reference", "reason": reason}
        from models.drift.drift_report import drift_report

        seconds, window, counts = watched.window(seconds)
        span = {
            "from": iso_time(window.start),
            "to": iso_time(window.end),
            "rows": counts.answered,
            "sampled": counts.counted,
        }
        report = drift_report(watched.model.schema, watched.reference, counts)
        if histograms:
            from models.drift.histograms import add_histograms

            add_histograms(report, watched.model.schema, watched.reference, counts)
        return head | {"window": span, "refused": watched.refused.report(seconds)} | report


def state_folder(state: Path | None, shared: Path | None) -> Path | None:
    """The folder of the counters: the one of TABSERVE_STATE, if it can be written."""
    if state is None:
        return shared
    if os.access(state, os.W_OK | os.X_OK):
        return state
    log.warning("TABSERVE_STATE cannot be written, counters end with the server", extra={"folder": str(state)})
    return shared


def joined(model: TabularModel, sampled: Sequence[SampledRows]) -> tuple[Frame, Outputs]:
    """The rows of many requests as one frame, with their outputs."""
    json_rows: list[Row] = []
    single_rows: list[Row] = []
    values: list[float] = []  # of the single rows
    frames: list[Frame] = []
    of_rows, of_frames = [], []
    for rows, outputs in sampled:
        if isinstance(outputs, float):
            single_rows += rows  # type: ignore[arg-type]  # a single value is the output of a row of JSON
            values.append(outputs)
        elif isinstance(rows, Frame):
            frames.append(rows)
            of_frames.append(outputs.primary)
        else:
            json_rows += rows
            of_rows.append(outputs.primary)
    frames.append(model.schema.frames.from_rows(json_rows + single_rows))
    columns = len(model.schema.classes or ()) or 1
    numbers, codes = (np.concatenate(matrices) for matrices in zip(*frames, strict=True))
    of_single = np.array(values).reshape(-1, 1 if values else columns)
    return Frame(numbers, codes), Outputs(np.concatenate([*of_frames, *of_rows, of_single]))


def iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
