"""Writes the output of a unit. A file appears under its name only when it is complete."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.atomic_file import remove_if_possible, sync_folder
from models.formats.encoders import errors_by_row
from models.json_text import dumps
from scoring.batch_scorer import ScoredBlock
from scoring.errors import OutputFailed
from scoring.input_file import reason_of
from scoring.job_folder import ERRORS, TEMPORARY

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 32 * 1024**2  # maximum size of the rows that are not written yet
SUFFIX = ".parquet"
ERRORS_SUFFIX = ".ndjson"


class UnitWriter:
    """Writes files to the folder for temporary files. `commit` renames them. Raises OutputFailed."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._folder = folder
        self._output = folder / TEMPORARY / f"{name}.{os.getpid()}{SUFFIX}"
        self._errors = self._output.with_suffix(ERRORS_SUFFIX)
        self._final_output = folder / f"{name}{SUFFIX}"
        self._final_errors = folder / ERRORS / f"{name}{ERRORS_SUFFIX}"
        self._error_file: IO[bytes] | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0
        self.rows = self.invalid = self.with_warnings = 0
        with output_errors():
            self._output.parent.mkdir(exist_ok=True)
            self._file = open(self._output, "wb")  # noqa: SIM115 - closed by `commit` or `discard`
            self._table = pq.ParquetWriter(self._file, schema, use_dictionary=repeated_columns(schema))

    def write(self, scored: ScoredBlock, source: str) -> None:
        """Write a scored block. source: the input, for the list of invalid rows."""
        batch, rows = scored.batch, scored.rows
        self.rows += rows.count
        self.invalid += rows.invalid_rows
        self.with_warnings += len(rows.warnings)
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        with output_errors():
            if rows.errors:
                self._write_errors(scored, source)
            if self._waiting_rows >= ROW_GROUP_ROWS or self._waiting_bytes >= ROW_GROUP_BYTES:
                self._write_group()

    def _write_group(self) -> None:
        table = pa.Table.from_batches(self._waiting)
        self._table.write_table(table, row_group_size=table.num_rows)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def _write_errors(self, scored: ScoredBlock, source: str) -> None:
        """Write a line for each invalid row: input, row number, kept columns and errors."""
        if self._error_file is None:
            self._error_file = open(self._errors, "wb")  # noqa: SIM115 - closed by `commit` or `discard`
        kept = [field.name for field in scored.batch.schema][: scored.kept_columns]
        for place, errors in errors_by_row(scored.rows, scored.first_row).items():
            line: dict[str, Any] = {"input": source, "row": scored.first_row + place}
            if kept:
                line["kept"] = {name: to_json_value(scored.batch.column(name)[place].as_py()) for name in kept}
            line["errors"] = [{"field": one.field, "code": one.code, "message": one.message} for one in errors]
            self._error_file.write(dumps(line) + b"\n")

    def commit(self) -> dict[str, Any]:
        """Wait until the files are on disk, and rename them. Returns the data of the unit for the manifest."""
        with output_errors():
            if self._waiting:
                self._write_group()
            self._table.close()
            sizes = [sync_file(self._file)]
            self._file.close()
            if self._error_file is not None:
                sizes.append(sync_file(self._error_file))
                self._error_file.close()
                self._final_errors.parent.mkdir(exist_ok=True)
                self._errors.rename(self._final_errors)
                sync_folder(self._final_errors.parent)
            self._output.rename(self._final_output)
            sync_folder(self._folder)
        return {
            "output": self._final_output.name,
            "bytes": sizes[0],
            "errors": f"{ERRORS}/{self._final_errors.name}" if len(sizes) > 1 else None,
            "error_bytes": sum(sizes[1:]),
            "rows": self.rows,
            "invalid": self.invalid,
            "with_warnings": self.with_warnings,
        }

    def discard(self) -> None:
        """Remove the written files."""
        for file, path in ((self._file, self._output), (self._error_file, self._errors)):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
                remove_if_possible(path)


@contextlib.contextmanager
def output_errors() -> Iterator[None]:
    """Convert errors of the file system to OutputFailed."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise OutputFailed(f"the output cannot be written: {reason_of(error)}") from error


def sync_file(file: IO[bytes]) -> int:
    """Wait until a file is on disk. Returns its size."""
    file.flush()
    os.fsync(file.fileno())
    return file.tell()


def repeated_columns(schema: pa.Schema) -> list[str]:
    """The columns that are written with dictionaries: texts, not numbers."""
    text = pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary, pa.types.is_string_view
    return [field.name for field in schema if any(is_text(field.type) for is_text in text)]


def to_json_value(value: object) -> object:
    """The value of a kept column as a JSON value. Values of types that JSON does not have become text."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)
