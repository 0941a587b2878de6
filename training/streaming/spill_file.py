"""Stores arrays in a temporary file."""

import errno
import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.streaming.unnamed_file import UnnamedFile, disk_error

ALIGNMENT = 64


class SpillFile:
    """A temporary file to whose end arrays are written."""

    def __init__(self) -> None:
        self._file = UnnamedFile()
        self._end = 0

    def add(self, array: npt.NDArray[Any]) -> "StoredArray":
        """Write an array. Raises OSError if the disk is full."""
        stored = self.reserve(array.shape, array.dtype)
        stored.write(0, array)
        return stored

    def reserve(self, shape: tuple[int, ...], dtype: Any) -> "StoredArray":
        """Reserve space for an array whose rows are written later."""
        stored = StoredArray(self, self._end, shape, np.dtype(dtype))
        self._end += -(-stored.bytes // ALIGNMENT) * ALIGNMENT
        return stored

    def read_into(self, buffer: memoryview, offset: int) -> None:
        while buffer:
            count = os.preadv(self._file.file.fileno(), [buffer], offset)
            if not count:
                raise OSError(errno.EIO, "a temporary file is shorter than the data written to it")
            buffer, offset = buffer[count:], offset + count

    def write(self, buffer: memoryview, offset: int) -> None:
        try:
            while buffer:
                count = os.pwrite(self._file.file.fileno(), buffer, offset)
                buffer, offset = buffer[count:], offset + count
        except OSError as error:
            raise disk_error(error) from None

    def mapped(self, offset: int, size: int) -> tuple[mmap.mmap, int]:
        """A mapping that contains these bytes, and their offset in it."""
        start = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self._file.file.fileno(), offset - start + size, access=mmap.ACCESS_READ, offset=start)
        return mapped, offset - start


@dataclass(frozen=True)
class StoredArray:
    """An array in a temporary file, at an offset."""

    file: SpillFile
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def row_bytes(self) -> int:
        return self.bytes // max(self.shape[0], 1)

    def read(self, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """A copy of these rows."""
        stop = self.shape[0] if stop is None else min(stop, self.shape[0])
        rows = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        if rows.size:
            self.file.read_into(rows.data.cast("B"), self.offset + start * self.row_bytes)
        return rows

    def write(self, start: int, rows: npt.NDArray[Any]) -> None:
        """Write rows from row `start` on."""
        content = np.ascontiguousarray(rows, self.dtype)
        if content.size:
            self.file.write(content.data.cast("B"), self.offset + start * self.row_bytes)
