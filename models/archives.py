"""Checks the ZIP archives of a version, their names and sizes, before anything is unpacked."""

import math
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.text import truncate

MAX_MEMBERS = 100_000
MAX_DIRECTORY_BYTES = 16 * 1024**2
MAX_BYTES = 4 * 1024**3
"""The maximum unpacked size of all members together."""
MAX_RATIO = 100
"""The maximum ratio of unpacked to stored bytes. The archives of this project are not compressed."""
END_OF_DIRECTORY = b"PK\x05\x06"
END_BYTES = 22
MAX_COMMENT_BYTES = 65_535
ZIP64_LOCATOR, ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20


class UnsafeArchive(ValueError):  # noqa: N818 - the name describes the error
    """The error for an archive that is not unpacked. Its message names the archive and the reason."""


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a .npz file, by name. Raises UnsafeArchive; never unpickles an object."""
    members = check_members(path)
    with zipfile.ZipFile(path) as archive:
        for member in members:
            _check_array(archive, member, path.name)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def is_plain_name(name: str) -> bool:
    """Whether a name is a plain file name without a folder: neither an absolute path nor `..`."""
    return bool(name) and name == os.path.basename(name) and "\\" not in name and name not in (".", "..")


def check_members(path: Path, is_valid_name: Callable[[str], bool] = is_plain_name) -> list[zipfile.ZipInfo]:
    """The members of an archive. Raises UnsafeArchive if there are too many members, members that are too large, or
    invalid names."""
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise UnsafeArchive(f"{path.name} is not a valid ZIP file") from error
    if len(members) > MAX_MEMBERS:
        raise UnsafeArchive(f"{path.name} has {len(members)} members; at most {MAX_MEMBERS} are read")
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise UnsafeArchive(f"{path.name} unpacks to more than {MAX_BYTES} bytes")
    if len({member.filename for member in members}) < len(members):
        raise UnsafeArchive(f"{path.name} has several members with the same name")
    for member in members:
        if not is_valid_name(member.filename):
            raise UnsafeArchive(f"{path.name} has a member with the name {truncate(member.filename)!r}")
        if member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise UnsafeArchive(f"{path.name}: {member.filename} unpacks to more than {MAX_RATIO} times its size")
    return members


def _check_directory(path: Path) -> None:
    """Raises UnsafeArchive if the list of members is too long, because Python's reader loads the whole list."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - END_BYTES - MAX_COMMENT_BYTES - ZIP64_LOCATOR_BYTES))
        tail = file.read()
    end = tail.rfind(END_OF_DIRECTORY)
    if end < 0 or len(tail) - end < END_BYTES:
        raise UnsafeArchive(f"{path.name} is not a valid ZIP file")
    (directory_bytes,) = struct.unpack_from("<L", tail, end + 12)
    locator = tail[max(0, end - ZIP64_LOCATOR_BYTES) : end]
    if directory_bytes > MAX_DIRECTORY_BYTES or locator.startswith(ZIP64_LOCATOR):
        raise UnsafeArchive(f"{path.name} has a list of members that is too long")


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    """Raises UnsafeArchive if an array declares more bytes than are stored, or contains Python objects."""
    try:
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read_header[version](file)
            stored = member.file_size - file.tell()
    except (ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, RuntimeError, OSError) as error:
        raise UnsafeArchive(f"{name}: {truncate(member.filename)} is not an array") from error
    if dtype.hasobject:
        raise UnsafeArchive(f"{name}: {truncate(member.filename)} contains Python objects")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > stored:
        raise UnsafeArchive(f"{name}: {truncate(member.filename)} declares more values than are stored")
