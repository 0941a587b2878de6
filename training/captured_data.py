"""Reads rows that a server captured, and joins them by id with their feedback into a training table."""

import glob
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models import capture_format
from models.capture_format import ID, METADATA, PREFIX, SUFFIX, TIME, TRUTH
from models.file_destination import check_destination, is_url
from models.text import counted, truncate
from training.config import DataOptions
from training.errors import UsageError
from training.raw_table import RawTable
from training.table_inputs import DATABASES, exists, input_files

EXAMPLE = "--data 'capture/*.parquet'"


@dataclass(frozen=True)
class CapturedFile:
    """A captured file with its metadata. categories: columns whose numbers are levels of a category."""

    path: str
    table: Any
    model: str
    target: str
    categories: tuple[str, ...]


def is_captured(data: str) -> bool:
    """Whether `--data` is a pattern or a URL of files that a server has captured. Raises UsageError."""
    if data == "-" or data.partition(":")[0] in DATABASES or not (is_url(data) or is_pattern(data)):
        return False
    with input_files(data)[0].open() as file:
        if file.read(4) != b"PAR1":
            return False
        try:
            return METADATA in (pq.read_schema(pa.PythonFile(file, mode="r")).metadata or {})
        except (pa.ArrowException, OSError):  # reported when the file is read
            return False


def is_pattern(data: str) -> bool:
    return glob.has_magic(data) and not exists(data)


def captured_options(options: DataOptions) -> DataOptions:
    """The options with the model and the target of the captured files. Raises UsageError."""
    first = selected_files(options)[0]
    return replace(options, name=options.name or first.model, target=options.target or first.target)


def read_captured(options: DataOptions) -> RawTable:
    """The captured rows that have feedback. Raises UsageError."""
    files = selected_files(options)
    model = files[0].model
    rows = without_ambiguous_ids(joined_table([file.table for file in files]))
    folders = sorted({folder_of(file.path) for file in files})
    pattern = f"{capture_format.FEEDBACK}/{model}-*{SUFFIX}"
    paths = [path for folder in folders for path in expand_pattern(f"{folder}/{pattern}" if folder else pattern)]
    if not paths:
        raise UsageError(f"there is no feedback about {model}: no file {pattern} next to the captured rows")
    truth = newest_truth(joined_table([read_file(path).table for path in paths]))
    table = rows.join(truth, ID, join_type="inner").sort_by([(TIME, "ascending"), (ID, "ascending")])
    if not table.num_rows:
        if rows.num_rows == 1:
            raise UsageError(f"the only captured row of {model} has no feedback")
        raise UsageError(f"none of the {rows.num_rows} captured rows of {model} has feedback")
    target = options.target or files[0].target
    names = [name for name in table.column_names if not name.startswith(PREFIX) and name != target]
    columns = [*(table.column(name) for name in names), table.column(TRUTH)]
    of_rows = f"of {counted(rows.num_rows, 'captured row')}"
    with_feedback = counted(table.num_rows, f"{of_rows} has feedback", f"{of_rows} have feedback")
    notices = [f"{with_feedback}, {counted(len(files), 'file')}"]
    categorical = frozenset(name for file in files for name in file.categories)
    origin = {"format": "captured rows", "files": len(files), "captured": rows.num_rows}
    fingerprint = hashlib.sha256("\n".join(table.column(ID).to_pylist()).encode()).hexdigest()
    return RawTable(
        [*names, target], columns, True, table.num_rows, notices, origin, fingerprint, categorical=categorical
    )


def selected_files(options: DataOptions) -> list[CapturedFile]:
    """The files of one model."""
    paths = expand_pattern(options.data)
    if not paths:
        raise UsageError(f"no file matches {options.data}")
    files = [read_file(path) for path in paths]
    models = sorted({file.model for file in files})
    if options.name is None and len(models) > 1:
        raise UsageError(
            f"{options.data} has rows of {len(models)} models, {', '.join(models)}: choose one with --name"
        )
    wanted = options.name or models[0]
    found = [file for file in files if file.model == wanted]
    if not found and len(models) > 1:
        raise UsageError(f"{options.data} has no rows of {wanted}; there are {', '.join(models)}")
    return found or files  # --name renames a model: the files then belong to one model


def expand_pattern(pattern: str) -> list[str]:
    """The files that match a pattern, sorted."""
    if not is_url(pattern):
        return sorted(glob.glob(pattern))
    filesystem, path = remote_filesystem(pattern)
    scheme = pattern.partition("://")[0]
    return sorted(f"{scheme}://{str(found).lstrip('/')}" for found in filesystem.glob(path))


def remote_filesystem(url: str) -> tuple[Any, str]:
    try:
        check_destination(url)
    except ValueError as error:
        raise UsageError(f"--data {truncate(url)}: {error}") from None
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, path


def read_file(path: str) -> CapturedFile:
    """Read a captured file. Raises UsageError for any other file."""
    try:
        if is_url(path):
            filesystem, name = remote_filesystem(path)
            table = pq.read_table(pa.BufferReader(filesystem.cat_file(name)))
        else:
            table = pq.read_table(path, partitioning=None)
        known = json.loads((table.schema.metadata or {})[METADATA])
        found = CapturedFile(
            path, without_dictionaries(table), known["model"], known["target"], tuple(known.get("categories", ()))
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = "it was not captured" if isinstance(error, KeyError) else truncate(" ".join(str(error).split()), 200)
        raise UsageError(f"{path} cannot be read as captured rows ({EXAMPLE}): {reason}") from None
    return found


def without_dictionaries(table: Any) -> Any:
    """The table with decoded dictionary columns, because dictionaries differ between files."""
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def joined_table(tables: Sequence[Any]) -> Any:
    """Concatenate tables; if a table lacks a column, its cells are missing. Raises UsageError."""
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        message = truncate(" ".join(str(error).split()), 200)
        raise UsageError(f"the files have columns of different types, choose fewer: {message}") from None


def without_ambiguous_ids(rows: Any) -> Any:
    """Return the rows whose id occurs once: feedback about a repeated id could belong to either row."""
    counts = pc.value_counts(rows.column(ID))
    once = counts.field("values").filter(pc.equal(counts.field("counts"), 1))
    return rows.filter(pc.is_in(rows.column(ID), once))


def newest_truth(feedback: Any) -> Any:
    """Return the id and the newest true value of each row with feedback."""
    ordered = feedback.sort_by([(TIME, "descending")])
    _, first = np.unique(np.array(ordered.column(ID).to_pylist(), dtype=object).astype(str), return_index=True)
    return ordered.take(pa.array(np.sort(first))).select([ID, TRUTH])


def folder_of(path: str) -> str:
    return path.rpartition("/")[0] if is_url(path) else str(PurePosixPath(path).parent)
