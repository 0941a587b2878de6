"""Copies the file of a URL to the local disk, so that it is transferred once and can be read several times."""

import io
import os
from collections.abc import Callable
from contextlib import closing
from typing import Any

from training.file_content import CHUNK_BYTES
from training.streaming.unnamed_file import UnnamedFile, disk_error
from training.table_inputs import TableFile


class CopyReader(io.RawIOBase):
    """Reads an unnamed file from the beginning, independently of other readers."""

    def __init__(self, copy: UnnamedFile) -> None:
        self._copy, self._place = copy, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: os.fstat(self._copy.file.fileno()).st_size}
        self._place = max(start[whence] + offset, 0)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._copy.file.fileno(), [buffer], self._place)
        self._place += count
        return count


def local_copy(file: TableFile, on_read: Callable[[int], None]) -> TableFile:
    """The file, opened from a local copy; a local file is returned unchanged. Raises OSError if the disk is full."""
    if file.local:
        return file
    copy, size = UnnamedFile(), 0
    with closing(file.open()) as source:
        while content := source.read(CHUNK_BYTES):
            size += len(content)
            try:
                copy.file.write(content)
            except OSError as error:
                raise disk_error(error) from None
            on_read(size)
    return file._replace(size=size, open=lambda: io.BufferedReader(CopyReader(copy), CHUNK_BYTES))
