"""Encoded rows in a temporary file, from which rows in any order are read as a matrix."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from training.streaming.spill_file import SpillFile, StoredArray

Matrix = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
WINDOW_BYTES = 1 << 25  # size of the mapped part of the file: pages that were read count as memory of the process


class StoredMatrix:
    """Some rows of a float32 matrix (rows, width) in a file, selected by their numbers in the file.

    Indexing returns a copy. The file is unmapped after each read, so its pages do not count as memory of the process.
    """

    def __init__(self, stored: StoredArray, rows: Indices | None = None) -> None:
        self._stored = stored
        self._rows = np.arange(stored.shape[0]) if rows is None else rows

    @classmethod
    def reserve(cls, rows: int, width: int) -> "StoredMatrix":
        return cls(SpillFile().reserve((rows, width), np.float32))

    def write(self, start: int, rows: Matrix) -> None:
        self._stored.write(start, rows)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._rows), self._stored.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def select(self, rows: Indices) -> "StoredMatrix":
        """Select rows, which are not read yet."""
        return StoredMatrix(self._stored, self._rows[rows])

    def joined(self, others: Sequence["StoredMatrix"]) -> "StoredMatrix":
        """The rows of this matrix, followed by the rows of other matrices in the same file."""
        return StoredMatrix(self._stored, np.concatenate([self._rows, *(other._rows for other in others)]))

    def __getitem__(self, rows: Indices | slice) -> Matrix:
        numbers = self._rows[rows]
        taken = np.empty((len(numbers), self._stored.shape[1]), np.float32)
        if not taken.size:
            return taken
        order = np.argsort(numbers, kind="stable")
        window = max(1, WINDOW_BYTES // self._stored.row_bytes)
        starts = np.arange(0, self._stored.shape[0], window)
        bounds = [*np.searchsorted(numbers, starts, sorter=order).tolist(), len(order)]
        for start, (first, last) in zip(starts.tolist(), pairwise(bounds), strict=True):
            if first < last:
                places = order[first:last]
                taken[places] = self._read(start, min(start + window, self._stored.shape[0]), numbers[places] - start)
        return taken

    def _read(self, start: int, stop: int, rows: Indices) -> Matrix:
        """Some rows of a part of the file. rows: counted from the start of the part."""
        size, width = self._stored.row_bytes * (stop - start), self._stored.shape[1]
        mapped, begin = self._stored.file.mapped(self._stored.offset + start * self._stored.row_bytes, size)
        part = np.frombuffer(mapped, np.float32, offset=begin, count=size // 4)
        taken: Matrix = part.reshape(-1, width)[rows]
        del part
        mapped.close()
        return taken

    def __array__(self, dtype: object = None, copy: object = None) -> Matrix:
        """All of these rows in memory."""
        return self[slice(None)]
