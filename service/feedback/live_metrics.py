"""The sums from which live metrics are computed, by model, version, metric and hour, shared by all workers."""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from service.confidence_sequence import Moments, moments_of

if TYPE_CHECKING:
    from service.shared_database import SharedDatabase

FILE = "feedback.sqlite"  # not *.db, because prometheus_client reads all such files in the shared folder
HOUR_S = 3600.0
SCRIPT = """
CREATE TABLE IF NOT EXISTS live (
    model TEXT NOT NULL, version TEXT NOT NULL, metric TEXT NOT NULL, hour INTEGER NOT NULL,
    count REAL NOT NULL, total REAL NOT NULL, deviation REAL NOT NULL,
    PRIMARY KEY (model, version, metric, hour)) WITHOUT ROWID
"""
TOTALS = "SELECT version, metric, sum(count), sum(total), sum(deviation) FROM live WHERE model = ? AND hour >= ?"


class MetricKey(NamedTuple):
    version: str
    metric: str


class LiveMetrics:
    """The database of sums. The methods raise sqlite3.Error and may wait for the disk.

    folder: None for a single process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder and folder / FILE
        self._used = False

    @cached_property
    def _database(self) -> "SharedDatabase":
        # imports SQLite, which a worker without feedback does not need
        from service.shared_database import SharedDatabase

        return SharedDatabase(self._path, SCRIPT)

    @property
    def has_feedback(self) -> bool:
        """Whether there may be feedback. Without feedback there is no file."""
        self._used = self._used or (self._path is not None and self._path.exists())
        return self._used

    def add(self, model: str, observed: Mapping[MetricKey, Sequence[float]]) -> None:
        """Add observations between 0 and 1, in chronological order."""
        self._used = True
        hour = int(time.time() // HOUR_S)
        upsert = """
            INSERT INTO live VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count,
            total = total + excluded.total, deviation = deviation + excluded.deviation"""
        with self._database.transaction() as connection:
            for key, values in observed.items():
                query = f"{TOTALS} AND version = ? AND metric = ? GROUP BY version, metric"
                found = connection.execute(query, (model, 0, *key)).fetchone()
                before = Moments(*found[2:]) if found else Moments()
                connection.execute(upsert, (model, *key, hour, *moments_of(values, before)))

    def forget(self, model: str, metric: str) -> None:
        """Delete the sums of a metric for all versions of a model."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM live WHERE model = ? AND metric = ?", (model, metric))

    def sums(self, model: str, since: float = 0.0) -> dict[MetricKey, Moments]:
        """The sums since the beginning of the hour that contains `since`, a time in seconds since 1970."""
        with self._database.reading() as connection:
            rows = connection.execute(f"{TOTALS} GROUP BY version, metric", (model, int(since // HOUR_S)))
            return {MetricKey(version, metric): Moments(*sums) for version, metric, *sums in rows}
