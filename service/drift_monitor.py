"""Counts the rows of each served version that has a reference, and reports how they differ from it."""

import asyncio
import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.frame import Frame, Row
from models.outputs import Outputs
from models.tabular_model import TabularModel
from service.refused_rows import RefusedRows
from service.row_sample import RowSample, SampledRows
from service.served_model import ServedModel
from service.window_counters import DAY, HOUR, WEEK, CountedWindow, WindowCounters, remove_old_files

if TYPE_CHECKING:  # imported only for versions that have a reference
    from models.drift.counter import DriftCounts
    from models.drift.reference import DriftReference

DEFAULT_WINDOWS = (HOUR, DAY, WEEK)
FLUSH_LIMIT_S = 1.0  # after this time, a stalled disk no longer delays the caller
STOP_S = 5.0
log = logging.getLogger("tabserve.drift")


class WatchedVersion:
    """A version with a reference: the sample of its rows, and their counters."""

    def __init__(self, served: ServedModel, reference: "DriftReference", folder: Path | None) -> None:
        from models.drift.counter import DriftCounter

        # references with other bins have other counters
        digest = hashlib.sha256(reference.to_json().encode()).hexdigest()[:12]
        self.model = model = served.model
        self.reference = reference
        self.sample = RowSample()
        self._counter = DriftCounter(model.schema, reference, model)
        subject = f"{model.name}-{model.version}"
        self._windows = WindowCounters(folder, f"drift-{subject}-{digest}", self._counter.width)
        self.refused = RefusedRows(folder, subject, served.error_columns)

    def take(self) -> "TakenRows":
        """The rows sampled or refused since the last call."""
        return TakenRows(self, *self.sample.take(), self.refused.take())

    def count(self, taken: "TakenRows") -> None:
        """Add the rows to the counters."""
        if taken.answered:
            frame, outputs = combine_samples(self.model, taken.sampled)
            self._windows.add(self._counter.count(frame, outputs, taken.answered))
        self.refused.count(taken.refused)

    def window(self, seconds: float | None) -> tuple[float, CountedWindow, "DriftCounts"]:
        """The length of the window in seconds, and the counts of all workers in it.

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


class TakenRows(NamedTuple):
    """Rows that are not counted yet. sampled: a sample of `answered` rows. refused: counters, as in `RefusedRows`."""

    watched: WatchedVersion
    sampled: Sequence[SampledRows]
    answered: int
    refused: Sequence[int]


class DriftMonitor:
    """The counters of the served versions. Only its thread writes them, so that no request waits for the disk.

    folder: the counters' folder, which the workers share and which may outlive the server; None for a single process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drift")
        self._counting: asyncio.Future[None] | None = None
        self._watched: dict[RowSample, WatchedVersion] = {}
        self._retired: deque[TakenRows] = deque()
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
            self._retired.append(self._watched.pop(sample).take())

    async def flush(self) -> None:
        """Count the rows sampled or refused since the last call. If the disk stalls, they are counted later."""
        end = time.monotonic() + FLUSH_LIMIT_S
        while self._counting is not None and not self._counting.done():
            if not await wait_until_done(self._counting, end):
                return
        taken = [watched.take() for watched in self._watched.values()]
        self._counting = asyncio.get_running_loop().run_in_executor(self._thread, self._count, taken)
        if await wait_until_done(self._counting, end):
            self._counting.result()

    def close(self) -> None:
        """Count the remaining sampled rows."""
        self.follow(())
        wait([self._thread.submit(self._count, ())], STOP_S)
        self._thread.shutdown(wait=False)

    def _count(self, taken: Sequence[TakenRows]) -> None:
        for rows in taken:
            rows.watched.count(rows)
        while self._retired:
            rows = self._retired.popleft()
            rows.watched.count(rows)
            rows.watched.close()

    def report(self, served: ServedModel, seconds: float | None = None, histograms: bool = False) -> dict[str, Any]:
        """The response to `GET /drift` for a version. This reads files."""
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


async def wait_until_done(future: "asyncio.Future[None]", end: float) -> bool:
    """Wait for a future, at most until `end`, a time of `time.monotonic`. Returns whether it is done."""
    await asyncio.wait({future}, timeout=max(end - time.monotonic(), 0.0))
    return future.done()


def state_folder(state: Path | None, shared: Path | None) -> Path | None:
    """The folder of the counters: TABSERVE_STATE if it is set and can be written, else the workers' shared folder."""
    if state is None:
        return shared
    if os.access(state, os.W_OK | os.X_OK):
        return state
    log.warning("TABSERVE_STATE cannot be written, counters end with the server", extra={"folder": str(state)})
    return shared


def combine_samples(model: TabularModel, sampled: Sequence[SampledRows]) -> tuple[Frame, Outputs]:
    """The rows of many requests as one frame, with their outputs."""
    json_rows: list[Row] = []
    single_rows: list[Row] = []
    values: list[float] = []  # the outputs of `single_rows`
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
