"""A folder to which whole files are written: a local folder or, with fsspec, a URL of an object store.

A file appears only when it is complete.
"""

import contextlib
import importlib.util
from pathlib import Path
from typing import Any, Protocol

from models.atomic_file import remove_if_possible, sync_folder, write_durably

UNFINISHED = ".unfinished-"  # the prefix of local files that are not complete yet
LOCAL_URL = "file://"
FSSPEC_MISSING = "a URL needs fsspec, which is not installed (pip install 'tabserve[remote]')"


class FileDestination(Protocol):
    """A folder for whole files. Names are relative, with `/` between folder and file. All methods raise OSError and
    errors of the libraries."""

    def write(self, name: str, content: bytes) -> None: ...
    def read(self, name: str) -> bytes: ...
    def names(self, folder: str = "") -> list[str]:
        """The names of the complete files in a folder."""
        ...

    def remove(self, name: str) -> None: ...
    def remove_unfinished(self) -> None:
        """Remove unfinished files. No other process may write at the same time."""
        ...


def is_url(location: str) -> bool:
    return "://" in location and not location.startswith(LOCAL_URL)


def check_destination(location: str) -> None:
    """Raises ValueError if a URL needs a library that is not installed."""
    if not is_url(location):
        return
    if importlib.util.find_spec("fsspec") is None:
        raise ValueError(FSSPEC_MISSING)
    import fsspec

    try:
        fsspec.get_filesystem_class(location.partition("://")[0])
    except ImportError as error:
        raise ValueError(str(error)) from None


def open_destination(location: str) -> FileDestination:
    """The folder at a path or URL. A local folder is created if necessary. Raises OSError."""
    if is_url(location):
        return RemoteFolder(location)
    return LocalFolder(Path(location.removeprefix(LOCAL_URL)).expanduser())


class LocalFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)

    def write(self, name: str, content: bytes) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{UNFINISHED}{target.name}")
        try:
            write_durably(unfinished, content)
            unfinished.replace(target)
        except BaseException:
            remove_if_possible(unfinished)
            raise
        sync_folder(target.parent)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def names(self, folder: str = "") -> list[str]:
        location = self.path / folder
        if not location.is_dir():
            return []
        found = (file.name for file in location.iterdir() if file.is_file() and not file.name.startswith("."))
        return sorted(f"{folder}/{name}" if folder else name for name in found)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        for file in self.path.rglob(f"{UNFINISHED}*"):
            remove_if_possible(file)


class RemoteFolder:
    """A folder of an object store. An object appears when it is complete."""

    def __init__(self, url: str) -> None:
        import fsspec

        self._files: Any
        self._files, self._root = fsspec.core.url_to_fs(url.rstrip("/"))

    def write(self, name: str, content: bytes) -> None:
        self._files.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> None:
        """Write a new file. Raises FileExistsError if it exists; some stores do not detect two writers at the same
        time."""
        if self._files.exists(self._path(name)):
            raise FileExistsError(self._path(name))
        self._files.pipe_file(self._path(name), content, mode="create")

    def upload(self, name: str, path: Path) -> None:
        self._files.put_file(str(path), self._path(name))

    def sizes(self) -> dict[str, int]:
        """The sizes of all files by name, including files in subfolders."""
        self._files.invalidate_cache()
        found = self._files.find(self._root, detail=True)
        return {path[len(self._root) :].lstrip("/"): int(info["size"] or 0) for path, info in found.items()}

    def read(self, name: str) -> bytes:
        content: bytes = self._files.cat_file(self._path(name))
        return content

    def names(self, folder: str = "") -> list[str]:
        path = self._path(folder) if folder else self._root
        self._files.invalidate_cache()
        try:
            entries = self._files.ls(path, detail=True)
        except FileNotFoundError:
            return []
        found = (entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "file")
        return sorted(f"{folder}/{name}" if folder else name for name in found if not name.startswith("."))

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def remove_unfinished(self) -> None: ...

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"
