"""Encoded rows in a temporary file: rows of them in any order are read as a matrix."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.streaming.spill_file import SpillFile, StoredArray

Matrix = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


class StoredMatrix:
    """Some rows of a matrix (rows, width) float32 in a file, by their numbers there.

    The result is a copy. The file is unmapped after each read, so its pages do not count as memory of the process.
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
        """These rows, not read yet."""
        return StoredMatrix(self._stored, self._rows[rows])

    def joined(self, others: Sequence["StoredMatrix"]) -> "StoredMatrix":
        """The rows of this matrix, then those of other matrices in the same file."""
        return StoredMatrix(self._stored, np.concatenate([self._rows, *(other._rows for other in others)]))

    def __getitem__(self, rows: Indices | slice) -> Matrix:
        if not self._stored.bytes:
            return np.empty((len(self._rows[rows]), self._stored.shape[1]), np.float32)
        mapped, start = self._stored.file.mapped(self._stored.offset, self._stored.bytes)
        whole = np.frombuffer(mapped, np.float32, offset=start, count=self._stored.bytes // 4)
        taken: Matrix = whole.reshape(self._stored.shape)[self._rows[rows]]
        del whole
        mapped.close()
        return taken

    def __array__(self, dtype: object = None, copy: object = None) -> Matrix:
        """All of these rows in memory."""
        return self[slice(None)]
