"""The database of captured rows and feedback. It stores them until a file that contains them is complete.

Rows are kept in batches, each a JSON text, because storing single rows would dominate the cost of capture. Rows stay
for some time after they were written to a file, so that feedback can find them by their id. The index of ids is built
when feedback by id is first used.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NamedTuple

import orjson

from models.json_text import dumps
from service.shared_database import SharedDatabase

FILE = "capture.sqlite"  # not *.db, because prometheus_client reads all such files in the shared folder
MAX_KEPT_ROWS = 500_000  # about 100 MB
MAX_IDS = 500  # maximum number of ids in one query
SCRIPT = """
CREATE TABLE IF NOT EXISTS versions (
    number INTEGER PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL, schema BLOB NOT NULL,
    UNIQUE (model, version, schema));
CREATE TABLE IF NOT EXISTS rows (
    number INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, count INTEGER NOT NULL, time REAL NOT NULL,
    content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS ids (
    model TEXT NOT NULL, id TEXT NOT NULL, batch INTEGER NOT NULL, position INTEGER NOT NULL, judged REAL,
    PRIMARY KEY (model, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS feedback (
    number INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, count INTEGER NOT NULL, time REAL NOT NULL,
    content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, version INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS files_by_version ON files (kind, version, last);
CREATE TABLE IF NOT EXISTS indexed (last INTEGER NOT NULL);
INSERT INTO indexed SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM indexed);
"""
ROWS, FEEDBACK = "rows", "feedback"  # the kinds of files, and their tables
VersionKey = tuple[str, str, bytes]
"""Model, version and schema as JSON."""


class RowBatch(NamedTuple):
    """Rows of one version.

    names: the names of the columns. outputs: for each row, the value or the probability of each class.
    """

    names: Sequence[str]
    ids: list[str]
    times: list[float]
    source: str
    rows: list[Sequence[Any]]
    outputs: list[list[float]]

    def as_rows(self) -> list[dict[str, Any]]:
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]

    def without(self, erased_ids: Collection[str]) -> "RowBatch":
        """The batch without the rows of some ids."""
        at = [position for position, name in enumerate(self.ids) if name not in erased_ids]
        rows, outputs = [self.rows[position] for position in at], [self.outputs[position] for position in at]
        ids, times = [self.ids[position] for position in at], [self.times[position] for position in at]
        return RowBatch(self.names, ids, times, self.source, rows, outputs)


class FeedbackBatch(NamedTuple):
    """The true target values of rows."""

    ids: list[str]
    times: list[float]
    truths: list[Any]

    def without(self, erased_ids: Collection[str]) -> "FeedbackBatch":
        at = [position for position, name in enumerate(self.ids) if name not in erased_ids]
        ids, times = [self.ids[position] for position in at], [self.times[position] for position in at]
        return FeedbackBatch(ids, times, [self.truths[position] for position in at])


class FoundRow(NamedTuple):
    """A captured row that was found by its id. row: the values by column, without redacted columns."""

    version: str
    row: dict[str, Any]
    outputs: list[float]


class PlannedFile(NamedTuple):
    """A file with the batches of one version whose numbers are from `first` to `last`."""

    name: str
    kind: str
    version: int
    first: int
    last: int


class WaitingRows(NamedTuple):
    """The rows of one version that are not in a file yet. first, last: the numbers of their first and last batch."""

    version: int
    rows: int
    first: int
    last: int
    oldest: float
    newest: float


class CaptureDatabase:
    """The methods of the database raise sqlite3.Error and may wait for the disk."""

    def __init__(self, folder: Path | None) -> None:
        self._database = SharedDatabase(folder and folder / FILE, SCRIPT)

    def close(self) -> None:
        self._database.close()

    def add_rows(self, batches: Mapping[VersionKey, RowBatch]) -> None:
        self._add(ROWS, batches)

    def add_feedback(self, key: VersionKey, feedback: FeedbackBatch) -> None:
        """key: the key of the champion, whose target defines the true values."""
        self._add(FEEDBACK, {key: feedback})

    def _add(self, table: str, batches: Mapping[VersionKey, RowBatch] | Mapping[VersionKey, FeedbackBatch]) -> None:
        texts = {key: dumps([*batch]) for key, batch in batches.items()}
        with self._database.transaction() as connection:
            for key, batch in batches.items():
                values = (version_number(connection, key), len(batch.ids), batch.times[-1], texts[key])
                connection.execute(f"INSERT INTO {table} (version, count, time, content) VALUES (?, ?, ?, ?)", values)

    def find(self, model: str, ids: Sequence[str]) -> dict[str, FoundRow]:
        """The captured rows of a model by id; the first row if several have the same id."""
        with self._database.transaction() as connection:
            index_ids(connection)
            places: dict[int, list[tuple[int, str]]] = {}
            for part in parts(ids):
                query = f"SELECT batch, position, id FROM ids WHERE model = ? AND id IN ({marks(part)})"
                for batch, position, name in connection.execute(query, (model, *part)):
                    places.setdefault(batch, []).append((position, name))
            found = {}
            for batch, own in places.items():
                query = """SELECT versions.version, content FROM rows JOIN versions ON versions.number = rows.version
                    WHERE rows.number = ?"""
                if (row := connection.execute(query, (batch,)).fetchone()) is not None:
                    version, content = row[0], read_rows(row[1])
                    for position, name in own:
                        values = dict(zip(content.names, content.rows[position], strict=True))
                        found[name] = FoundRow(version, values, content.outputs[position])
            return found

    def mark_judged(self, model: str, ids: Sequence[str]) -> set[str]:
        """Mark rows as judged. Returns the ids of those that were not judged before."""
        fresh = set()
        update = "UPDATE ids SET judged = ? WHERE model = ? AND id = ? AND judged IS NULL"
        with self._database.transaction() as connection:
            for name in ids:
                if connection.execute(update, (time.time(), model, name)).rowcount:
                    fresh.add(name)
        return fresh

    def waiting(self, kind: str) -> list[WaitingRows]:
        """The rows that are not in a file yet, by version."""
        query = f"""
            SELECT version, sum(count), min(number), max(number), min(time), max(time) FROM {kind} AS own
            WHERE number > (SELECT coalesce(max(last), 0) FROM files WHERE kind = ? AND files.version = own.version)
            GROUP BY version"""
        with self._database.reading() as connection:
            return [WaitingRows(*row) for row in connection.execute(query, (kind,))]

    def ranges(self, kind: str, waiting: WaitingRows, size: int) -> list[tuple[int, int]]:
        """The numbers of the first and last batch of files with about `size` rows each."""
        query = f"SELECT number, count FROM {kind} WHERE version = ? AND number BETWEEN ? AND ? ORDER BY number"
        found: dict[int, list[int]] = {}
        with self._database.reading() as connection:
            batches = [*connection.execute(query, (waiting.version, waiting.first, waiting.last))]
        before = accumulate((count for _, count in batches), initial=0)
        for (number, _), rows in zip(batches, before, strict=False):
            found.setdefault(rows // size, []).append(number)
        return [(numbers[0], numbers[-1]) for numbers in found.values()]

    def plan_file(self, file: PlannedFile) -> None:
        """Decide which rows a file contains before it is written, so that after a crash it is written again with the
        same rows."""
        with self._database.transaction() as connection:
            insert = "INSERT INTO files (name, kind, version, first, last) VALUES (?, ?, ?, ?, ?)"
            connection.execute(insert, file)

    def incomplete_files(self) -> list[PlannedFile]:
        query = "SELECT name, kind, version, first, last FROM files WHERE complete = 0"
        with self._database.reading() as connection:
            return [PlannedFile(*row) for row in connection.execute(query)]

    def complete_file(self, file: PlannedFile) -> None:
        """Record that the file was written. From now on its feedback is stored in the file only."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE files SET complete = 1 WHERE name = ?", (file.name,))
            connection.execute(
                "DELETE FROM files WHERE complete = 1 AND kind = ? AND version = ? AND last < ?",
                (file.kind, file.version, file.last),
            )
            if file.kind == FEEDBACK:
                delete = "DELETE FROM feedback WHERE version = ? AND number BETWEEN ? AND ?"
                connection.execute(delete, (file.version, file.first, file.last))

    def version(self, number: int) -> VersionKey:
        query = "SELECT model, version, schema FROM versions WHERE number = ?"
        with self._database.reading() as connection:
            model, version, schema = connection.execute(query, (number,)).fetchone()
            return model, version, schema

    def rows_of(self, file: PlannedFile) -> list[RowBatch]:
        return [read_rows(content) for content in self._contents(file)]

    def feedback_of(self, file: PlannedFile) -> list[FeedbackBatch]:
        return [FeedbackBatch(*orjson.loads(content)) for content in self._contents(file)]

    def _contents(self, file: PlannedFile) -> list[bytes]:
        query = f"SELECT content FROM {file.kind} WHERE version = ? AND number BETWEEN ? AND ? ORDER BY number"
        with self._database.reading() as connection:
            return [content for (content,) in connection.execute(query, (file.version, file.first, file.last))]

    def prune(self, older_than: float, max_rows: int = MAX_KEPT_ROWS) -> int:
        """Delete old rows, and the oldest rows beyond the limit. Returns the number of deleted rows that were not in a
        file."""
        with self._database.transaction() as connection:
            last, kept = 0, 0
            for number, count, seconds in connection.execute(
                "SELECT number, count, time FROM rows ORDER BY number DESC"
            ):
                kept += count
                if kept > max_rows or seconds < older_than:
                    last = number
                    break
            connection.execute("DELETE FROM feedback WHERE time < ?", (older_than,))
            query = """
                SELECT coalesce(sum(count), 0) FROM rows AS own WHERE number <= ? AND number > (
                    SELECT coalesce(max(last), 0) FROM files
                    WHERE kind = 'rows' AND complete = 1 AND files.version = own.version)"""
            lost: int = connection.execute(query, (last,)).fetchone()[0]
            if last:
                connection.execute("DELETE FROM rows WHERE number <= ?", (last,))
                connection.execute("DELETE FROM ids WHERE batch <= ?", (last,))
            return lost

    def batches(self) -> list[RowBatch]:
        """All rows."""
        with self._database.reading() as connection:
            return [read_rows(content) for (content,) in connection.execute("SELECT content FROM rows")]

    def erase(self, ids: Collection[str]) -> None:
        """Delete rows and feedback by id."""
        with self._database.transaction() as connection:
            for table in (ROWS, FEEDBACK):
                for number, content in connection.execute(f"SELECT number, content FROM {table}").fetchall():
                    batch = read_rows(content) if table == ROWS else FeedbackBatch(*orjson.loads(content))
                    if not any(name in ids for name in batch.ids):
                        continue
                    left = batch.without(ids)
                    if left.ids:
                        update = f"UPDATE {table} SET content = ?, count = ? WHERE number = ?"
                        connection.execute(update, (dumps([*left]), len(left.ids), number))
                    else:
                        connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
                    if table == ROWS:
                        positions = [(position, number, name) for position, name in enumerate(left.ids)]
                        connection.executemany("UPDATE ids SET position = ? WHERE batch = ? AND id = ?", positions)
            connection.executemany("DELETE FROM ids WHERE id = ?", [(name,) for name in ids])


def version_number(connection: Connection, key: VersionKey) -> int:
    """The number of a version, which is added if it is new."""
    connection.execute("INSERT OR IGNORE INTO versions (model, version, schema) VALUES (?, ?, ?)", key)
    query = "SELECT number FROM versions WHERE model = ? AND version = ? AND schema = ?"
    return int(connection.execute(query, key).fetchone()[0])


def index_ids(connection: Connection) -> None:
    """Add the ids of new batches to the index."""
    (last,) = connection.execute("SELECT last FROM indexed").fetchone()
    query = """SELECT rows.number, model, content FROM rows JOIN versions ON versions.number = rows.version
        WHERE rows.number > ? ORDER BY rows.number"""
    for number, model, content in connection.execute(query, (last,)):  # one batch in memory at a time
        ids = read_rows(content).ids
        entries = [(model, name, number, position) for position, name in enumerate(ids)]
        connection.executemany("INSERT OR IGNORE INTO ids (model, id, batch, position) VALUES (?, ?, ?, ?)", entries)
        connection.execute("UPDATE indexed SET last = ?", (number,))


def read_rows(content: bytes) -> RowBatch:
    return RowBatch(*orjson.loads(content))


def marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), MAX_IDS):
        yield ids[start : start + MAX_IDS]
