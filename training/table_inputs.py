"""Finds the files that `--data` names, also by patterns, folders and URLs."""

import glob
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from models.file_destination import LOCAL_URL, check_destination, is_url
from models.text import did_you_mean, truncate
from training.errors import UsageError

DATABASES = ("duckdb", "sqlite")
ENDINGS = (
    *(".csv", ".tsv", ".txt", ".json", ".ndjson", ".jsonl", ".parquet", ".feather", ".arrow", ".ipc"),
    *(".gz", ".bz2", ".xz", ".zst", ".zip"),
)


class TableFile(NamedTuple):
    """A file with its size, and a function that opens it. local: whether its name is a path."""

    name: str
    size: int
    open: Callable[[], Any]
    local: bool


def input_files(data: str) -> list[TableFile]:
    """The files that `--data` names, sorted by name. Raises UsageError."""
    data = data.removeprefix(LOCAL_URL)
    if is_url(data):
        return _remote_files(data)
    path = Path(data)
    if exists(data) and path.is_dir():
        found = sorted(str(file) for file in path.rglob("*") if file.is_file() and _is_table(file.relative_to(path)))
        if not found:
            raise UsageError(f"the folder {data} has no table file ({', '.join(ENDINGS[:8])}, …)")
        return [_local_file(name) for name in found]
    if not exists(data) and glob.has_magic(data):
        return [_local_file(name) for name in matching_files(data) if Path(name).is_file()]
    parts = data.split(",")
    if len(parts) > 1 and not exists(data) and all(exists(part) for part in parts):
        return [_local_file(name) for name in parts]
    return [_local_file(data)]


def exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a list of files may be too long for a file name
        return False


def name_of_tables(data: str) -> str:
    """The path that a model is named after: the first of several files, the folder of a pattern, or a database file."""
    scheme, _, rest = data.partition(":")
    if scheme in DATABASES:
        return str(Path(rest.partition("?")[0]).with_suffix(""))
    if exists(data):
        return data
    if glob.has_magic(data):
        fixed = [part for part in data.split("/") if not glob.has_magic(part)]
        return fixed[-1] if fixed and fixed[-1] else data
    return data.split(",")[0]


def matching_files(pattern: str) -> list[str]:
    """The local files that match a pattern. Raises UsageError if there are none."""
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise UsageError(f"no file matches {pattern}")
    return found


def _is_table(file: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in file.parts)
    return not hidden and file.suffix.lower() in ENDINGS


def _local_file(name: str) -> TableFile:
    path = Path(name)
    try:
        found = os.stat(path)
        if not stat.S_ISFIFO(found.st_mode):  # closing a pipe may end its writer
            path.open("rb").close()
    except FileNotFoundError:
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"no file {name}{did_you_mean(path.name, siblings)}") from None
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}") from None
    return TableFile(name, found.st_size, lambda: path.open("rb"), True)


def _remote_files(url: str) -> list[TableFile]:
    try:
        check_destination(url)
    except ValueError as error:
        raise UsageError(f"--data {truncate(url)}: {error}") from None
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(url)
    scheme = url.partition("://")[0]
    try:
        if glob.has_magic(path):
            paths = sorted(filesystem.glob(path))
        elif filesystem.isdir(path):
            paths = sorted(
                file for file in filesystem.find(path) if _is_table(Path(file.removeprefix(path).lstrip("/")))
            )
        else:
            paths = [path]
        found = [_remote_file(filesystem, scheme, str(path)) for path in paths]
    except Exception as error:  # a driver of a store may raise any exception
        raise UsageError(f"{url} cannot be read: {truncate(' '.join(str(error).split()), 200)}") from None
    if not found:
        raise UsageError(f"no file matches {url}")
    return found


def _remote_file(filesystem: Any, scheme: str, path: str) -> TableFile:
    name = path if path.startswith(f"{scheme}://") else f"{scheme}://{path.lstrip('/')}"
    return TableFile(name, filesystem.info(path)["size"] or 0, lambda: filesystem.open(path, "rb"), False)
