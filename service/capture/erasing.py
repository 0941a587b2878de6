"""Erases captured rows and the feedback about them, from files and from the database. Needs pyarrow."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.capture_format import FEEDBACK, ID, captured_time
from models.file_destination import FileDestination
from service.capture.capture_database import FILE, CaptureDatabase


@dataclass
class ErasureCounts:
    """The number of erased rows, and of files that contained them."""

    rows: int = 0
    feedback: int = 0
    files: int = 0
    ids: set[str] = field(default_factory=set)


def erase(
    destination: FileDestination, state: Path | None, ids: Collection[str], where: Mapping[str, str]
) -> ErasureCounts:
    """Erase the rows with one of the ids, and the rows in which all columns of `where` have the given values as text.

    state: the folder of the database, if there is one. Raises OSError, sqlite3.Error and errors of libraries.
    """
    erased = ErasureCounts(ids=set(ids))
    if state is not None and (state / FILE).exists():
        erase_in_database(state, where, erased)
    for name in captured_files(destination, ""):
        erased.rows += erase_in_file(destination, name, where, erased)
    for name in captured_files(destination, FEEDBACK):
        erased.feedback += erase_in_file(destination, name, {}, erased)
    return erased


def captured_files(destination: FileDestination, folder: str) -> list[str]:
    return [name for name in destination.names(folder) if captured_time(name.rpartition("/")[2]) is not None]


def erase_in_database(state: Path, where: Mapping[str, str], erased: ErasureCounts) -> None:
    """Erase rows from the database. They are not counted, because most of them are in files, too."""
    database = CaptureDatabase(state)
    try:
        if where:
            erased.ids |= {
                name
                for batch in database.batches()
                for name, row in zip(batch.ids, batch.as_rows(), strict=True)
                if matches(row, where)
            }
        database.erase(erased.ids)
    finally:
        database.close()


def matches(row: Mapping[str, Any], where: Mapping[str, str]) -> bool:
    return all(column in row and as_text(row[column]) == value for column, value in where.items())


def as_text(value: object) -> str:
    """A value as text for comparisons: integers without a fraction, `true` and `false`, missing values empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def erase_in_file(destination: FileDestination, name: str, where: Mapping[str, str], erased: ErasureCounts) -> int:
    """Replace a file by one without the matching rows, or delete it if no row is left. Returns the number of erased
    rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(destination.read(name)))
    names = table.column(ID).to_pylist()
    known = [column for column in where if column in table.column_names]
    found = [False] * len(names)
    if where and len(known) == len(where):
        columns = [table.column(column).to_pylist() for column in known]
        found = [matches(dict(zip(known, row, strict=True)), where) for row in zip(*columns, strict=True)]
    gone = [one or number in erased.ids for one, number in zip(found, names, strict=True)]
    if not any(gone):
        return 0
    erased.ids |= {number for number, one in zip(names, gone, strict=True) if one}
    erased.files += 1
    if all(gone):
        destination.remove(name)
    else:
        file = pa.BufferOutputStream()
        pq.write_table(table.filter(pa.array([not one for one in gone])), file, compression="zstd")
        destination.write(name, file.getvalue().to_pybytes())
    return sum(gone)
