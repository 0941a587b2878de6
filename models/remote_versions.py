"""The versions in an object store: `URL/<model>/<version>/<file>`.

`manifest.json` is written last and deleted first: files without it are not a version. `.reserved` is written first, by
the only writer that may use the number. It is never deleted, so no number is used twice.
"""

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from models import manifest
from models.object_store import ConditionFailed, ListedObject, ObjectStore
from models.schema import NAME
from models.version_folder import MANIFEST_FILE, MAX_FILES, AlteredVersion

RESERVATION = ".reserved"
FIRST_NAME = "_~"  # sorts after all names except those of versions and `serving.json`
OBJECT = re.compile(rf"(?P<model>{NAME.pattern})/(?P<version>[1-9]\d{{0,17}})/(?P<file>[^/]+)", re.ASCII)
UNFINISHED_AGE = timedelta(days=1)
"""The age at which an incomplete upload is regarded as interrupted."""


@dataclass(frozen=True)
class RemoteVersion:
    """A version number of a model and its objects."""

    name: str
    version: int
    objects: Sequence[ListedObject]

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def files(self) -> list[ListedObject]:
        """The objects that are files of the version; `.reserved` is not."""
        return [each for each in self.objects if not file_name(each).startswith(".")]

    @property
    def manifest(self) -> ListedObject | None:
        return next((each for each in self.objects if file_name(each) == MANIFEST_FILE), None)

    @property
    def size(self) -> int:
        return sum(each.size for each in self.objects)


@dataclass(frozen=True)
class VersionListing:
    """All version numbers of all models that have objects."""

    numbers: Mapping[str, Sequence[RemoteVersion]] = field(default_factory=dict)

    @cached_property
    def versions(self) -> dict[str, list[RemoteVersion]]:
        """The complete versions of each model that has any, newest first."""
        found = {name: [one for one in own if one.manifest is not None] for name, own in self.numbers.items()}
        return {name: own for name, own in sorted(found.items()) if own}

    def find(self, name: str, version: int) -> RemoteVersion | None:
        return next((one for one in self.versions.get(name, ()) if one.version == version), None)

    def next_number(self, name: str) -> int:
        return max((one.version for one in self.numbers.get(name, ())), default=0) + 1


class RemoteVersions:
    """Reads and writes the versions in an object store. All methods raise ObjectStoreError."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def list(self) -> VersionListing:
        found: dict[tuple[str, int], list[ListedObject]] = {}
        for each in self._objects.list(after=FIRST_NAME):
            if (parts := OBJECT.fullmatch(each.name)) is not None:
                found.setdefault((parts["model"], int(parts["version"])), []).append(each)
        numbers: dict[str, list[RemoteVersion]] = {}
        for (name, version), objects in sorted(found.items(), key=lambda item: (item[0][0], -item[0][1])):
            numbers.setdefault(name, []).append(RemoteVersion(name, version, objects))
        return VersionListing(numbers)

    def check_writable(self) -> None:
        """Raises ObjectStoreError if the store cannot be written safely."""
        self._objects.check_conditions()

    def exists(self, name: str, version: int) -> bool:
        """Whether this version is complete now."""
        place = f"{name}/{version}"
        return any(each.name == f"{place}/{MANIFEST_FILE}" for each in self._objects.list(place))

    def download(self, version: RemoteVersion, folder: Path) -> None:
        """Write the files of a version to a folder and check them. Also raises AlteredVersion and OSError."""
        if len(version.files) > MAX_FILES:
            raise AlteredVersion(f"it has {len(version.files)} files; at most {MAX_FILES} are read")
        for each in version.files:
            self._objects.download(each, folder / file_name(each))
        manifest.check(folder)

    def reserve(self, name: str) -> int:
        """Reserve the next version number of a model, so that no other writer can use it."""
        writer = {"host": socket.gethostname(), "pid": os.getpid(), "time": datetime.now(UTC).isoformat()}
        number = self.list().next_number(name)
        while True:
            with contextlib.suppress(ConditionFailed):
                self._objects.create(f"{name}/{number}/{RESERVATION}", json.dumps(writer).encode())
                return number
            number += 1

    def upload(self, name: str, version: int, folder: Path) -> None:
        """Write the files of a version with a manifest to a reserved number. Also raises OSError."""
        place = f"{name}/{version}"
        for file in sorted([*manifest.file_names(folder), *manifest.signature_names(folder)]):
            self._objects.put(f"{place}/{file}", folder / file)
        self._objects.create(f"{place}/{MANIFEST_FILE}", (folder / MANIFEST_FILE).read_bytes())

    def find_same_content(self, name: str, hashes: Mapping[str, str], ignored: set[str]) -> int | None:
        """The version whose manifest contains these hashes, without comparing the ignored files; None if there is
        none."""
        for version in self.list().versions.get(name, ()):
            with contextlib.suppress(AlteredVersion):
                if differing_files(self.hashes(version), hashes) <= ignored:
                    return version.version
        return None

    def hashes(self, version: RemoteVersion) -> dict[str, str]:
        """The hashes in a version's manifest. Also raises AlteredVersion."""
        found = self._objects.get(f"{version.name}/{version.version}/{MANIFEST_FILE}")
        return manifest.parse(found.content if found else b"")

    def remove(self, version: RemoteVersion) -> None:
        """Delete a version, beginning with its manifest. Its number remains reserved."""
        names = [each.name for each in version.objects if file_name(each) not in (MANIFEST_FILE, RESERVATION)]
        self._objects.delete([f"{version.name}/{version.version}/{MANIFEST_FILE}", *names])

    def remove_interrupted(self) -> int:
        """Delete the files of interrupted uploads. Returns the number of these uploads."""
        removed = 0
        for one in interrupted_uploads(self.list(), datetime.now(UTC)):
            self.remove(one)
            removed += 1
        return removed


def interrupted_uploads(listing: VersionListing, now: datetime) -> Iterator[RemoteVersion]:
    """The old uploads that were not completed."""
    for one in (one for own in listing.numbers.values() for one in own):
        newest = max(each.modified for each in one.objects)
        if one.manifest is None and one.files and now - newest > UNFINISHED_AGE:
            yield one


def differing_files(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    """The names of the files whose hashes differ."""
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}


def file_name(listed: ListedObject) -> str:
    return listed.name.rpartition("/")[2]
