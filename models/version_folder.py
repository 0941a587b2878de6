"""The folder of a version: which of its entries are files of the version, and which entries make it unsafe to read.

The names and limits hold before anything is parsed, so that a hostile store can neither lead a reader out of the folder
nor block it or fill its memory.
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
"""Written by BentoML's form: the name and the number of the version."""
DESCRIPTION_FIELD = re.compile(r"""^(name|version):\s*['"]?([^'"\s]+)['"]?\s*$""", re.MULTILINE)
MAX_FILES = 100
MAX_FILE_BYTES = 2 * 1024**3
MAX_DOCUMENT_BYTES = 256 * 1024**2
"""The largest size of a file that is not an archive: JSON, Markdown, a picture."""
ARCHIVES = (".npz", ".keras")


class AlteredVersion(Exception):  # noqa: N818 - the name describes the error
    """A file of a version is not the one that was stored, or may not be read; the message names it."""


def version_files_of(folder: Path) -> list[str]:
    """The names of the files of a version, without folders and hidden files of an editor or a file system.

    Raises AlteredVersion if one of them leads out of the folder, is not a regular file, or is too large.
    """
    return [name for name in _checked_names(folder, links=True) if not name.startswith(".")]


def signed_files(folder: Path) -> list[str]:
    """The names of all files but the signature. Raises AlteredVersion as above, and if there is a folder or a link."""
    return [name for name in _checked_names(folder, links=False) if name != SIGNATURE_FILE]


def _checked_names(folder: Path, *, links: bool) -> list[str]:
    names = sorted(os.listdir(folder))
    if len(names) > MAX_FILES:
        raise AlteredVersion(f"it has {len(names)} files, at most {MAX_FILES} are read")
    return [name for name in names if _is_file(folder, name, links=links)]


def _is_file(folder: Path, name: str, *, links: bool) -> bool:
    """Whether an entry is a file. Raises AlteredVersion if it may not be read. links: whether it may be a link."""
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
        raise AlteredVersion(f"its file {name} has {found.st_size} bytes, at most {limit} are read")
    return True


def read_document(path: Path) -> bytes:
    """The content of a file of a version that was not checked. Raises OSError, also for a pipe and for a large file."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_DOCUMENT_BYTES:
            raise OSError(f"{path.name} is not a regular file of at most {MAX_DOCUMENT_BYTES} bytes")
        return file.read()


def read_description(folder: Path) -> dict[str, str]:
    """The name and the version in the description of a version, without those that it lacks. Raises OSError."""
    text = read_document(folder / DESCRIPTION_FILE).decode(errors="replace")
    return dict(DESCRIPTION_FIELD.findall(text))


def file_hash(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_hashes(folder: Path, found: Iterable[str], hashes: Mapping[str, str], *, unlisted: str, since: str) -> None:
    """Raises AlteredVersion unless these files are exactly the listed ones, with their hashes.

    found: the files of the folder. unlisted: what is wrong with a file without a hash. since: when the hashes were
    made, such as "stored".
    """
    names = {*found}
    for name in sorted(names | hashes.keys()):
        if name not in names:
            raise AlteredVersion(f"its file {name} is missing")
        if name not in hashes:
            raise AlteredVersion(f"its file {name} {unlisted}")
        if file_hash(folder / name) != hashes[name]:
            raise AlteredVersion(f"its file {name} was altered after it was {since}")
