"""The manifest of a version, `manifest.json`: the SHA-256 of each file, written with the version and checked at every
load."""

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
    """Raises AlteredVersion if the files differ from the manifest. A version without a manifest, made by 0.1.0, is not
    checked."""
    found = file_names(folder)
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return
    listed = read(path)
    if DESCRIPTION_FILE not in listed:  # an earlier format, in which the manifest was written before the description
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
    """The files that a manifest lists: all files except the manifest itself and the signature, which is written later.

    Raises AlteredVersion if a file is not allowed in a version.
    """
    return [name for name in version_files_of(folder) if name not in (MANIFEST_FILE, SIGNATURE_FILE)]


def signature_names(folder: Path) -> list[str]:
    """A list with the name of the signature file, empty if there is none."""
    return [SIGNATURE_FILE] if (folder / SIGNATURE_FILE).is_file() else []


def files_digest(folder: Path) -> str:
    """The digest of a version's manifest; if there is none, the digest that its manifest would have."""
    return digest(folder) or hashlib.sha256(_document(folder)).hexdigest()


def digest(folder: Path) -> str | None:
    """The SHA-256 of a version's manifest, which identifies all its files; None if there is no readable manifest."""
    try:
        return hashlib.sha256(read_document(folder / MANIFEST_FILE)).hexdigest()
    except OSError:
        return None
