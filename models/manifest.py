"""`manifest.json` of a version: the SHA-256 of each of its files, written when it is stored, checked at every load."""

import hashlib
import json
from pathlib import Path
from typing import Any

from models.version_folder import (
    DESCRIPTION_FILE,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    AlteredVersion,
    check_hashes,
    file_hash,
    read_document,
    version_files_of,
)


def write(folder: Path) -> None:
    """Write the manifest of the files in a folder."""
    (folder / MANIFEST_FILE).write_bytes(_document(folder))


def _document(folder: Path) -> bytes:
    document = {"format": 1, "files": {name: file_hash(folder / name) for name in file_names(folder)}}
    return json.dumps(document, indent=1).encode() + b"\n"


def check(folder: Path) -> None:
    """Raises AlteredVersion if the files differ from the manifest. A version of 0.1.0 has none and is not checked."""
    found = file_names(folder)
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return
    listed = read(path)
    if DESCRIPTION_FILE not in listed:  # an earlier manifest, written before the description
        found = [name for name in found if name != DESCRIPTION_FILE]
    check_hashes(folder, found, listed, unlisted="was added after it was stored", since="stored")


def read(path: Path) -> dict[str, Any]:
    """The hashes by file name. Raises AlteredVersion."""
    return parse(path.read_bytes())


def parse(content: bytes) -> dict[str, Any]:
    """The hashes by file name in the content of a manifest. Raises AlteredVersion."""
    try:
        document = json.loads(content)
        if document["format"] != 1:
            raise AlteredVersion(f"its {MANIFEST_FILE} has the format {document['format']!r}, expected 1")
        files = dict(document["files"])
        if not all(isinstance(text, str) for item in files.items() for text in item):
            raise ValueError("names and hashes are text")
        return files
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise AlteredVersion(f"its {MANIFEST_FILE} cannot be read") from error


def file_names(folder: Path) -> list[str]:
    """The files that a manifest lists: all but itself and the signature, which are written after it.

    Raises AlteredVersion if one may not be read.
    """
    return [name for name in version_files_of(folder) if name not in (MANIFEST_FILE, SIGNATURE_FILE)]


def signature_names(folder: Path) -> list[str]:
    """The name of the signature if there is one."""
    return [SIGNATURE_FILE] if (folder / SIGNATURE_FILE).is_file() else []


def files_digest(folder: Path) -> str:
    """The digest of the manifest; for a version without one, of the manifest that it would have."""
    return digest(folder) or hashlib.sha256(_document(folder)).hexdigest()


def digest(folder: Path) -> str | None:
    """The SHA-256 of a version's manifest, which identifies all its files; None if it has none that can be read."""
    try:
        return hashlib.sha256(read_document(folder / MANIFEST_FILE)).hexdigest()
    except OSError:
        return None
