"""The folder of a version: which entries are its files, and which entries make it unsafe to read.

Names and limits are checked before anything is parsed, so that a hostile store can neither make a reader leave the
folder nor block the reader or fill its memory.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "model.sig"
DESCRIPTION_FILE = "model.yaml"
"""A file in BentoML's format, with the name and the number of the version."""
DESCRIPTION_FIELD = re.compile(r"""^(name|version):\s*['"]?([^'"\s]+)['"]?\s*$""", re.MULTILINE)
MAX_FILES = 100
MAX_FILE_BYTES = 2 * 1024**3
MAX_DOCUMENT_BYTES = 256 * 1024**2
"""The maximum size of files that are not archives: JSON, Markdown and pictures."""
ARCHIVES = (".npz", ".keras")


class AlteredVersion(Exception):  # noqa: N818 - the name describes the error
    """A file of a version was altered after it was stored, or is not allowed. The message names the file."""


def version_files_of(folder: Path) -> list[str]:
    """The names of a version's files, without folders and without hidden files of editors or file systems.

    Raises AlteredVersion if a file is a link out of the folder, is not a regular file, or is too large.
    """
    return [name for name in _checked_names(folder, links=True) if not name.startswith(".")]


def signed_files(folder: Path) -> list[str]:
    """The names of all files except the signature. Raises AlteredVersion as `version_files_of` does, and for folders
    and links."""
    return [name for name in _checked_names(folder, links=False) if name != SIGNATURE_FILE]


def _checked_names(folder: Path, *, links: bool) -> list[str]:
    names = sorted(os.listdir(folder))
    if len(names) > MAX_FILES:
        raise AlteredVersion(f"it has {len(names)} files; at most {MAX_FILES} are read")
    return [name for name in names if _is_file(folder, name, links=links)]


def _is_file(folder: Path, name: str, *, links: bool) -> bool:
    """Whether an entry is a file. Raises AlteredVersion if it is not allowed. links: whether links within the folder
    are allowed."""
    path = folder / name
    if path.is_symlink():
        if not links:
            raise AlteredVersion(f"its file {name} is a symbolic link")
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise AlteredVersion(f"its file {name} is a link to a place outside of its folder")
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise AlteredVersion(f"its file {name} cannot be read") from error
    if stat.S_ISDIR(found.st_mode):
        if not links:
            raise AlteredVersion(f"it has a folder {name}")
        return False
    if not stat.S_ISREG(found.st_mode):
        raise AlteredVersion(f"its file {name} is not a regular file")
    limit = MAX_FILE_BYTES if path.suffix in ARCHIVES else MAX_DOCUMENT_BYTES
    if found.st_size > limit:
        raise AlteredVersion(f"its file {name} has {found.st_size} bytes; at most {limit} are read")
    return True


def read_document(path: Path) -> bytes:
    """The content of an unchecked file of a version. Raises OSError, also for pipes and for large files."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_DOCUMENT_BYTES:
            raise OSError(f"{path.name} is not a regular file of at most {MAX_DOCUMENT_BYTES} bytes")
        return file.read()


def read_description(folder: Path) -> dict[str, str]:
    """The name and the version in a version's description, if it contains them. Raises OSError."""
    text = read_document(folder / DESCRIPTION_FILE).decode(errors="replace")
    return dict(DESCRIPTION_FIELD.findall(text))


def file_hash(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_hashes(folder: Path, found: Iterable[str], hashes: Mapping[str, str], *, unlisted: str, since: str) -> None:
    """Raises AlteredVersion unless a folder contains exactly the listed files, with the listed hashes.

    found: the files of the folder. unlisted: the message for a file without a hash. since: the event at which the
    hashes were computed, such as "stored".
    """
    names = {*found}
    for name in sorted(names | hashes.keys()):
        if name not in names:
            raise AlteredVersion(f"its file {name} is missing")
        if name not in hashes:
            raise AlteredVersion(f"its file {name} {unlisted}")
        if file_hash(folder / name) != hashes[name]:
            raise AlteredVersion(f"its file {name} was altered after it was {since}")
