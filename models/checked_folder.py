"""The files of a version, checked before anything of them is parsed."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from models import manifest, trusted_keys
from models.version_folder import DESCRIPTION_FILE, SIGNATURE_FILE, AlteredVersion, read_description, signed_files


@contextlib.contextmanager
def checked_folder(folder: Path, tag: str, keys: Sequence[Path]) -> Iterator[Path]:
    """The folder with the files of a version once they are checked. Raises AlteredVersion or TrustedKeysError.

    keys: of which one must have signed the version; none: signatures are not checked. With keys the files are copied
    into a folder of this process first: somebody who can write to the store cannot replace them after the check.
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
    """Check the manifest and the signature. Returns the `key_hash` of the key. Raises as above."""
    public_keys = trusted_keys.read(keys)  # at each check: a key that was removed is no longer trusted
    from models import signature

    key = signature.verify(folder, public_keys)
    manifest.check(folder)
    check_description(folder, tag)
    return key


def check_description(folder: Path, tag: str) -> None:
    """Raises AlteredVersion if a signed version was stored under another name or number than the present one."""
    if not (folder / DESCRIPTION_FILE).is_file():
        return
    found = read_description(folder)
    signed = f"{found.get('name')}:{found.get('version')}"
    if signed != tag:
        raise AlteredVersion(f"it was signed as {signed}")
