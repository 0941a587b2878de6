"""Pushes a version from a local store to a store at a URL, under the next free number there."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from models import manifest
from models.object_store import AccessDenied
from models.remote_versions import RemoteVersions
from models.serving_file import ReadOnlyStore
from models.store_mirror import StoreMirror
from models.version_files import StoredVersion, StoreError
from models.version_folder import DESCRIPTION_FILE, MANIFEST_FILE, SIGNATURE_FILE, AlteredVersion

if TYPE_CHECKING:  # installed by the extra `signing`
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

VERSION_LINE = re.compile(r"^version: .*$", re.MULTILINE)


def push(
    stored: StoredVersion, mirror: StoreMirror, signing_key: "EllipticCurvePrivateKey | None" = None
) -> tuple[StoredVersion, bool]:
    """Upload a version unless its content was pushed before. Returns the version in the store, and whether it was
    uploaded.

    signing_key: signs the version with its new number. Raises StoreError, ServingStateError or OSError.
    """
    remote = mirror.remote
    try:
        manifest.check(stored.path)
        with tempfile.TemporaryDirectory(prefix="tabserve-push-") as place:
            folder = Path(place, "version")
            shutil.copytree(stored.path, folder, ignore=shutil.ignore_patterns(".*"))
            number, is_new = pushed_number(stored, folder, remote, signing_key)
            if is_new:
                renumber(stored, folder, number, signing_key)
                remote.upload(stored.name, number, folder)
    except AlteredVersion as error:
        raise StoreError(f"{stored.tag} in {stored.path} cannot be pushed: {error}") from error
    except AccessDenied as error:
        raise ReadOnlyStore(str(error)) from error
    return StoredVersion(stored.name, number, mirror.path_of(stored.name, number)), is_new


def pushed_number(
    stored: StoredVersion, folder: Path, remote: RemoteVersions, signing_key: "EllipticCurvePrivateKey | None"
) -> tuple[int, bool]:
    """The number of the version in the store, and whether the number is new."""
    manifest.write(folder)
    hashes = manifest.read(folder / MANIFEST_FILE)
    known = remote.find_same_content(stored.name, hashes, ignored={DESCRIPTION_FILE})
    if known is not None:
        return known, False
    if is_signed(folder) and signing_key is None and remote.list().next_number(stored.name) != stored.version:
        raise renumber_error(stored)
    remote.check_writable()
    return remote.reserve(stored.name), True


def renumber(stored: StoredVersion, folder: Path, number: int, signing_key: "EllipticCurvePrivateKey | None") -> None:
    """Write a new number into the copy of a version, and sign it. Raises StoreError if that would invalidate its
    signature."""
    if is_signed(folder) and signing_key is None:
        if number != stored.version:  # another process pushed a version meanwhile
            raise renumber_error(stored)
        return
    (folder / SIGNATURE_FILE).unlink(missing_ok=True)
    description = folder / DESCRIPTION_FILE
    if description.is_file():
        text = description.read_text(encoding="utf-8")
        description.write_text(VERSION_LINE.sub(f"version: '{number}'", text, count=1), encoding="utf-8")
    manifest.write(folder)
    if signing_key is not None:
        from models import signature

        signature.sign(folder, signing_key, f"{stored.name}:{number}")


def is_signed(folder: Path) -> bool:
    return (folder / SIGNATURE_FILE).is_file()


def renumber_error(stored: StoredVersion) -> StoreError:
    return StoreError(
        f"{stored.tag} is signed and would get another number in the store: sign it again with --sign KEY"
    )
