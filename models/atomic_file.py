"""Writes files atomically or durably; no incomplete file is left after an error."""

import contextlib
import os
import uuid
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file by one rename: a reader sees the old or the new content. Raises OSError."""
    written = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        written.write_bytes(content)
        written.replace(path)
    except BaseException:
        remove_if_possible(written)
        raise


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on disk. Raises OSError."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        remove_if_possible(path)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until a rename in this folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(folder: Path) -> None:
    """Wait until all files in a folder, and the folder itself, are on disk. Raises OSError."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def remove_if_possible(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
