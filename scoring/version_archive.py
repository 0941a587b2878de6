"""A model version as bytes, which an engine sends to the machines of a cluster."""

import contextlib
import io
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from models.version_files import StoredVersion
from models.version_folder import version_files_of


@dataclass(frozen=True)
class VersionArchive:
    """A ZIP archive of a version's files, including its manifest and signature."""

    name: str
    version: int
    content: bytes

    @classmethod
    def from_version(cls, stored: StoredVersion) -> Self:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in version_files_of(stored.path):
                archive.write(stored.path / name, name)
        return cls(stored.name, stored.version, target.getvalue())

    @contextlib.contextmanager
    def unpacked(self) -> Iterator[Path]:
        """A temporary folder with the files of the version, from which it can be loaded."""
        with tempfile.TemporaryDirectory(prefix="tabserve-") as root:
            folder = Path(root) / self.name / str(self.version)
            folder.mkdir(parents=True)
            with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
                archive.extractall(folder)
            yield folder
