"""Input files: local files, or files that fsspec reads from other places."""

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any, Self

import fsspec
import pyarrow as pa
from backports import zstd

from models.formats.errors import FormatError
from scoring.errors import ChangedInput, UnreadableInput

UNREADABLE = (FormatError, pa.ArrowException, OSError, EOFError, ValueError, zlib.error, zstd.ZstdError)
"""The exceptions that are raised for damaged or missing files."""
VERSION_KEYS = ("ETag", "etag", "md5Hash", "md5", "LastModified", "last_modified", "updated", "mtime", "created")
"""File attributes that change with the content, under their names in several file systems, the most exact first."""


@dataclass(frozen=True)
class InputFile:
    """An input file in the state that it had when the job started.

    url: the absolute path of a local file, or a URL of fsspec. compression: `gzip`, `zstd` or empty. state: a text that
    changes with the content of the file.
    """

    url: str
    format: str
    compression: str
    size: int
    state: str

    @property
    def is_local(self) -> bool:
        return "://" not in self.url

    def open(self) -> IO[bytes]:
        """Open the file without decompression. Raises UnreadableInput."""
        try:
            if self.is_local:
                return open(self.url, "rb")
            file: IO[bytes] = fsspec.open(self.url, "rb").open()
            return file
        except Exception as error:  # each file system of fsspec has its own errors
            raise UnreadableInput(f"{self.url} cannot be read: {reason_of(error)}") from None

    @contextlib.contextmanager
    def decompressed(self) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Open the file with decompression. Also yields the stored file, whose position shows the progress. Raises
        UnreadableInput."""
        with self.open() as stored:
            if self.compression == "gzip":
                yield gzip.GzipFile(fileobj=stored), stored  # type: ignore[misc]  # it has the methods of IO
            elif self.compression == "zstd":
                yield zstd.ZstdFile(stored), stored  # type: ignore[misc]  # the same
            else:
                yield stored, stored

    def check_unchanged(self) -> None:
        """Raises ChangedInput if the file has changed since the job started, or UnreadableInput."""
        if state_of(self.url) != (self.size, self.state):
            raise ChangedInput(f"{self.url} has changed since the job started")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        return cls(**document)


def state_of(url: str) -> tuple[int, str]:
    """The size of a file, and a text that changes with its content. Raises UnreadableInput."""
    try:
        if "://" not in url:
            found = os.stat(url)
            return found.st_size, str(found.st_mtime_ns)
        system, path = fsspec.url_to_fs(url)
        system.invalidate_cache()
        info = system.info(path)
    except Exception as error:  # each file system of fsspec has its own errors
        raise UnreadableInput(f"{url} cannot be read: {reason_of(error)}") from None
    return int(info["size"] or 0), next((str(info[key]) for key in VERSION_KEYS if info.get(key)), "")


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:300] or type(error).__name__
