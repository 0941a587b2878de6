"""A SQLite database that all workers of a server share, for counts and captured data.

Each commit survives the death of the worker. Never use the database on the event loop, because the disk may stall.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

WAIT_S = 30.0  # maximum wait for another worker's transaction
log = logging.getLogger("tabserve.database")


class SharedDatabase:
    """A database. path: None for a database in the memory of one process. script: creates the tables.

    Several threads may use it.
    """

    def __init__(self, path: Path | None, script: str) -> None:
        self._path, self._script = path, script
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    @property
    def _connection(self) -> sqlite3.Connection:
        """The connection, which is opened at the first use."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:  # the file is damaged or not a database
            if self._path is None:
                raise
            log.error("a damaged database is replaced", extra={"path": str(self._path), "reason": str(error)})
            self._path.replace(self._path.with_name(f"{self._path.name}.damaged"))
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        if self._path is not None:
            with contextlib.suppress(OSError):  # SQLite reports the error
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # rows may be personal data
        connection = sqlite3.connect(
            self._path or ":memory:", timeout=WAIT_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA journal_size_limit=16777216")
            connection.executescript(self._script)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction; a process has one at a time. Raises sqlite3.Error and then changes nothing."""
        with self._lock:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite rolls the transaction back itself if the disk is full
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that does not write and does not wait for other workers."""
        with self._lock:
            yield self._connection

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
