"""Checks the files of a version before any of them is parsed."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from models import manifest, trusted_keys
from models.version_folder import DESCRIPTION_FILE, SIGNATURE_FILE, AlteredVersion, read_description, signed_files


@contextlib.contextmanager
def checked_folder(folder: Path, tag: str, keys: Sequence[Path]) -> Iterator[Path]:
    """A folder with the checked files of a version. Raises AlteredVersion or TrustedKeysError.

    keys: one of them must have signed the version; without keys signatures are not checked. With keys the files are
    first copied into a private folder, so that nobody who can write to the store can replace them after the check.
    """
    if not keys:
        manifest.check(folder)
        yield folder
        return
    names = signed_files(folder)
    with tempfile.TemporaryDirectory(prefix="tabserve-version-") as private:
        for path in (folder / name for name in (*names, SIGNATURE_FILE)):
            if path.exists():
                shutil.copyfile(path, Path(private, path.name), follow_symlinks=False)
        check_signature(Path(private), tag, keys)
        yield Path(private)


def check_signature(folder: Path, tag: str, keys: Sequence[Path]) -> str:
    """Check the manifest and the signature. Returns the `key_hash` of the key. Raises AlteredVersion or
    TrustedKeysError."""
    public_keys = trusted_keys.read(keys)  # read at each check, so that a removed key is no longer trusted
    from models import signature

    key = signature.verify(folder, public_keys)
    manifest.check(folder)
    check_description(folder, tag)
    return key


def check_description(folder: Path, tag: str) -> None:
    """Raises AlteredVersion if the version was signed under another name or number."""
    if not (folder / DESCRIPTION_FILE).is_file():
        return
    found = read_description(folder)
    signed = f"{found.get('name')}:{found.get('version')}"
    if signed != tag:
        raise AlteredVersion(f"it was signed as {signed}")
