"""Reads the result of a DuckDB or SQLite query: `duckdb:file.db?select …`, `sqlite:file.db?select …`."""

import hashlib
import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from models.text import truncate
from training.errors import UsageError
from training.raw_table import RawTable, check_names
from training.streaming.cell_types import ColumnTypes, in_batches
from training.streaming.column_file import ColumnFile
from training.table_inputs import DATABASES

BATCH_ROWS = 50_000
INSTALL = "duckdb: needs the package duckdb: pip install 'tabserve[duckdb]'"


class DatabaseQuery(NamedTuple):
    """A query of a database file. query: empty for the only table of the file."""

    scheme: str
    path: str
    query: str

    @property
    def where(self) -> str:
        return f"{self.scheme}:{self.path}"


def parse_query(data: str) -> DatabaseQuery | None:
    """The database that `--data` names, or None."""
    scheme, _, rest = data.partition(":")
    if scheme not in DATABASES:
        return None
    path, _, query = rest.partition("?")
    return DatabaseQuery(scheme, path, query.strip())


def read_database(source: DatabaseQuery) -> RawTable:
    """Run a query. Raises UsageError."""
    if not Path(source.path).is_file():
        raise UsageError(f"no file {source.path}")
    sink = ColumnFile()
    names = _read_sqlite(source, sink) if source.scheme == "sqlite" else _read_duckdb(source, sink)
    columns = sink.columns()
    rows = sum(columns.part_rows)
    if not rows:
        raise UsageError(f"{source.where}: the query returns no rows")
    origin = {"format": {"sqlite": "SQLite", "duckdb": "DuckDB"}[source.scheme], "query": source.query}
    content = f"{source.query}\n{Path(source.path).stat().st_mtime_ns}\n{rows}"
    fingerprint = hashlib.sha256(content.encode()).hexdigest()
    return RawTable(names, columns, True, rows, [], origin, fingerprint, spilled=True)


def _read_sqlite(source: DatabaseQuery, sink: ColumnFile) -> list[str]:
    """Run the query twice, in one transaction: the cells of a column may have several types."""
    try:
        uri = f"{Path(source.path).resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("begin")
            query = source.query or _only_table(
                source,
                [
                    name
                    for (name,) in connection.execute(
                        "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%'"
                    )
                ],
            )
            cursor = connection.execute(query)
            if cursor.description is None:
                raise UsageError(f"{source.where}: {truncate(query)!r} is not a query")
            names = [column[0] for column in cursor.description]
            check_names(names, source.where)
            types = ColumnTypes()
            for row in _sqlite_rows(cursor, names):
                types.add_row(row)
            for batch in in_batches(_sqlite_rows(connection.execute(query), names), BATCH_ROWS):
                sink.add(types.batch(batch))
    except sqlite3.Error as error:
        raise UsageError(f"{source.where} cannot be read: {truncate(str(error), 200)}") from None
    return names


def _sqlite_rows(cursor: sqlite3.Cursor, names: list[str]) -> Iterator[dict[str, Any]]:
    return (dict(zip(names, row, strict=True)) for row in cursor)


def _read_duckdb(source: DatabaseQuery, sink: ColumnFile) -> list[str]:
    if importlib.util.find_spec("duckdb") is None:
        raise UsageError(INSTALL)
    import duckdb

    try:
        with duckdb.connect(source.path, read_only=True) as connection:
            query = source.query or _only_table(
                source,
                [name for (name,) in connection.execute("select table_name from information_schema.tables").fetchall()],
            )
            rows: Any = connection.sql(query)
            if rows is None:
                raise UsageError(f"{source.where}: {truncate(query)!r} is not a query")
            reader = rows.to_arrow_reader(BATCH_ROWS)
            names = list(reader.schema.names)
            check_names(names, source.where)
            for batch in reader:
                sink.add(batch)
    except duckdb.Error as error:
        raise UsageError(f"{source.where} cannot be read: {truncate(' '.join(str(error).split()), 200)}") from None
    return names


def _only_table(source: DatabaseQuery, tables: list[str]) -> str:
    """A query of the only table. Raises UsageError."""
    if len(tables) != 1:
        listed = ", ".join(sorted(tables)[:8])
        raise UsageError(
            f"{source.where} has {len(tables)} tables ({listed}): name the rows, as in {source.where}?select * from …"
        )
    quoted = tables[0].replace('"', '""')
    return f'select * from "{quoted}"'
