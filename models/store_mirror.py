"""The local mirror of a store at a URL: a folder of models that servers and commands read like any other store.

`mirror.json` contains the URL and the uploads of the copied versions. A version is downloaded to an unfinished folder,
checked, and made visible by a single rename. `serving.json` is copied after the versions to which it refers.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import manifest, trusted_keys
from models.atomic_file import replace_file, sync_folder
from models.checked_folder import check_signature
from models.file_lock import lock_within
from models.object_store import ObjectStore, ObjectStoreError, check_url, open_object_store
from models.remote_versions import RemoteVersion, RemoteVersions
from models.serving_file import ServingFile
from models.store import MODELS
from models.unfinished_folder import discard, remove_leftovers, unfinished_folder
from models.version_files import StoredVersion, StoreError
from models.version_folder import MANIFEST_FILE, AlteredVersion

FOLDER_VARIABLE = "TABSERVE_STORE_CACHE"
BYTES_VARIABLE = "TABSERVE_STORE_CACHE_BYTES"
DEFAULT_BYTES = 4 * 1024**3
MIRROR_FILE = "mirror.json"
LOCK_FILE = "mirror.lock"
LOCK_SECONDS = 60.0
DIGEST_CHARACTERS = 12


class NotCopied(StoreError):  # noqa: N818 - the name describes the error
    """A version in the store cannot be copied because it is damaged or the disk is full."""


@dataclass(frozen=True)
class StoreMirror:
    """The mirror of a store. folder: the folder of the copies. url: the URL of the store. limit: the maximum size of
    all copies in bytes."""

    folder: Path
    url: str
    limit: int = DEFAULT_BYTES

    def create_folder(self) -> None:
        """Create the folder of the mirror if it does not exist. Raises ObjectStoreError."""
        try:
            (self.folder / MODELS).mkdir(parents=True, exist_ok=True)
            if read_mirror_file(self.folder) is None:
                write_mirror_file(self.folder, self.url, {})
        except OSError as error:
            reason = error.strerror or error
            raise ObjectStoreError(
                f"the local copy in {self.folder} cannot be written: {reason}; set {FOLDER_VARIABLE}"
            ) from error

    @property
    def objects(self) -> ObjectStore:
        """The object store, opened at the first use because most workers only read the copies. Raises
        ObjectStoreError."""
        try:
            return open_object_store(self.url)
        except ValueError as error:
            raise ObjectStoreError(f"{self.url}: {error}") from None

    @property
    def remote(self) -> RemoteVersions:
        return RemoteVersions(self.objects)

    def path_of(self, name: str, version: int) -> Path:
        return self.folder / MODELS / name / str(version)

    def stored(self) -> dict[str, list[StoredVersion]]:
        """All versions of the store, copied or not, newest first. Raises ObjectStoreError."""
        return {
            name: [StoredVersion(name, one.version, self.path_of(name, one.version)) for one in own]
            for name, own in self.remote.list().versions.items()
        }

    def fetch(self, name: str, version: int) -> None:
        """Copy a version if there is no copy of it. Raises StoreError or ObjectStoreError."""
        found = self.remote.list().find(name, version)
        if found is None:
            raise StoreError(f"there is no {name}:{version} in {self.url}")
        with self.locked():
            self.copy(found, {found.tag, *self._served_tags()})

    def _served_tags(self) -> set[str]:
        """The versions to which the copied `serving.json` refers."""
        state = ServingFile(self.folder).read()
        named = ((name, (own.champion, *own.aliases.values(), *own.history[-1:])) for name, own in state.models.items())
        return {f"{name}:{version}" for name, versions in named for version in versions}

    def delete(self, versions: Sequence[StoredVersion]) -> None:
        """Delete versions in the store, and their copies. Raises ObjectStoreError."""
        listing = self.remote.list()
        for stored in versions:
            if (found := listing.find(stored.name, stored.version)) is not None:
                self.remote.remove(found)
        with self.locked():
            for stored in versions:
                self.remove_copy(stored)

    def is_copied(self, version: RemoteVersion) -> bool:
        """Whether there is a copy of this upload."""
        return self.path_of(version.name, version.version).is_dir() and self._copied_uploads().get(
            version.tag
        ) == upload_id(version)

    def copy(self, version: RemoteVersion, keep: set[str]) -> None:
        """Copy a version. Copies that are not in `keep` may be removed to free space. The caller holds the lock.

        Raises NotCopied or ObjectStoreError.
        """
        if self.is_copied(version):
            return
        self._make_space(version, keep)
        path = self.path_of(version.name, version.version)
        try:
            with unfinished_folder(self.folder / MODELS) as folder:
                self.remote.download(version, folder)
                if keys := trusted_keys.configured():
                    check_signature(folder, version.tag, keys)
                if path.exists():
                    discard(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                os.rename(folder, path)
            sync_folder(path.parent)
            self._write_copied({**self._copied_uploads(), version.tag: upload_id(version)})
        except (AlteredVersion, trusted_keys.TrustedKeysError) as error:
            raise NotCopied(f"{version.tag} in {self.url} is not used: {error}") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise NotCopied(f"{version.tag} cannot be copied to {self.folder}: {reason}") from error

    def _make_space(self, version: RemoteVersion, keep: set[str]) -> None:
        """Remove copies, the lowest version numbers first, until there is space for a version. Raises NotCopied."""
        copies = {stored.tag: stored for stored in self.copies() if stored.tag != version.tag}
        sizes = {tag: folder_size(stored.path) for tag, stored in copies.items()}
        for tag in sorted(copies.keys() - keep, key=lambda tag: copies[tag].version):
            if sum(sizes.values()) + version.size <= self.limit:
                break
            self.remove_copy(copies[tag])
            del sizes[tag]
        if sum(sizes.values()) + version.size > self.limit:
            raise NotCopied(
                f"{version.tag} has {version.size} bytes and does not fit into the local copy of {self.url} "
                f"({BYTES_VARIABLE}={self.limit})"
            )

    def copies(self) -> list[StoredVersion]:
        """The copied versions."""
        folders = (self.folder / MODELS).glob("*/*/")
        return [StoredVersion(path.parent.name, int(path.name), path) for path in folders if path.name.isdecimal()]

    def remove_copy(self, stored: StoredVersion) -> None:
        """Remove a copy. The caller holds the lock."""
        with contextlib.suppress(OSError):
            discard(stored.path)
        with contextlib.suppress(OSError):
            stored.path.parent.rmdir()

    def check_copies(self) -> None:
        """Remove damaged copies and the leftovers of interrupted copies. The caller holds the lock."""
        remove_leftovers(self.folder / MODELS)
        for stored in self.copies():
            try:
                manifest.check(stored.path)
                intact = (stored.path / MANIFEST_FILE).is_file()
            except (AlteredVersion, OSError):
                intact = False
            if not intact:
                self.remove_copy(stored)

    def _copied_uploads(self) -> Mapping[str, str]:
        """The upload of each copied version, by tag."""
        document = read_mirror_file(self.folder) or {}
        found = document.get("versions")
        return found if isinstance(found, dict) else {}

    def _write_copied(self, versions: Mapping[str, str]) -> None:
        write_mirror_file(self.folder, self.url, versions)

    @contextlib.contextmanager
    def locked(self, seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold the lock of the mirror. Raises ObjectStoreError if another process holds it."""
        try:
            descriptor = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ObjectStoreError(f"{self.folder} cannot be written: {error.strerror or error}") from error
        try:
            try:
                is_locked = lock_within(descriptor, seconds)
            except OSError as error:
                raise ObjectStoreError(f"{self.folder} cannot be locked: {error.strerror or error}") from error
            if not is_locked:
                raise ObjectStoreError(f"another process copies versions to {self.folder}")
            yield
        finally:
            os.close(descriptor)


def mirror_of(folder: Path | None) -> StoreMirror | None:
    """The mirror in this folder; None if the folder is a local store."""
    document = None if folder is None else read_mirror_file(folder)
    if folder is None or document is None:
        return None
    return StoreMirror(folder, str(document["url"]), read_limit(os.environ))


def open_mirror(url: str, environ: Mapping[str, str] = os.environ) -> StoreMirror:
    """The mirror of a URL; its folder is created if necessary. Raises ValueError if the store cannot be used."""
    url = url.rstrip("/")
    check_url(url)
    mirror = StoreMirror(mirror_folder(url, environ), url, read_limit(environ))
    try:
        mirror.create_folder()
    except ObjectStoreError as error:
        raise ValueError(str(error)) from None
    return mirror


def mirror_folder(url: str, environ: Mapping[str, str]) -> Path:
    """The folder for the mirror of a URL, in TABSERVE_STORE_CACHE or the user's cache folder."""
    named = environ.get(FOLDER_VARIABLE, "").strip()
    home = Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    base = Path(named).expanduser().absolute() if named else home / "tabserve" / "stores"
    words = re.sub(r"[^a-zA-Z0-9]+", "-", url.partition("://")[2]).strip("-")[:40]
    return base / f"{words}-{hashlib.sha256(url.encode()).hexdigest()[:DIGEST_CHARACTERS]}"


def read_limit(environ: Mapping[str, str]) -> int:
    text = environ.get(BYTES_VARIABLE, "").strip()
    return int(text) if text.isdecimal() else DEFAULT_BYTES


def read_mirror_file(folder: Path) -> dict[str, Any] | None:
    """The content of `mirror.json`; None if the folder is not a mirror."""
    try:
        document = json.loads((folder / MIRROR_FILE).read_bytes())
        return document if isinstance(document, dict) and isinstance(document.get("url"), str) else None
    except (OSError, ValueError):
        return None


def write_mirror_file(folder: Path, url: str, versions: Mapping[str, str]) -> None:
    document = {"format": 1, "url": url, "versions": dict(versions)}
    replace_file(folder / MIRROR_FILE, json.dumps(document, indent=1).encode() + b"\n")


def upload_id(version: RemoteVersion) -> str:
    """A value that changes if another version is uploaded under the same number."""
    return str(version.manifest and version.manifest.e_tag)


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
